// What a conversation looks like.

import { enlarge } from "./pictures.js";
import { lensOf } from "./lens.js";
import { button, element, find, picture, say } from "./parts.js";

/** What each policy lets the image do, for those who choose. */
export const POLICIES = [
  ["mutual", "mutual: the image reads the question"],
  ["causal", "causal: nobody reads ahead"],
  ["concentric", "concentric: causal, in rings from the rim"],
  ["prefix", "prefix: all of the prompt reads all of it"],
  ["image-bidirectional", "image-bidirectional: the image reads itself"],
];

/** The images that a turn can see: its own and those before. */
export function imagesOf(conversation, turn) {
  const { turns } = conversation;
  return turns.slice(0, turns.indexOf(turn) + 1).flatMap((one) => one.images);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch {
    say("This browser does not let the page copy.");
  }
}

/** Returns an answer's element, and what shows how it grows. */
function drawAnswer(view, turn, answer) {
  const { conversation, looked, running, actions } = view;
  const images = imagesOf(conversation, turn);
  const box = element("section", "answer");
  box.setAttribute("aria-label", `Answer under ${answer.policy} attention`);
  box.ariaBusy = String(Boolean(answer.busy));
  const text = element("div", "text", answer.text);
  box.append(element("h3", "", answer.policy), text);
  if (answer.note) box.append(element("div", "note", answer.note));
  if (answer.error) {
    const told = element("div", "error", answer.error);
    told.setAttribute("role", "alert");
    box.append(told);
  }
  answer.grow = () => {
    text.textContent = answer.text;
  };
  if (answer.busy) return box;
  const tools = element("div", "tools");
  if (!answer.error && images.length && looked?.answer !== answer) {
    tools.append(button("Where does it look?", () => actions.look(turn, answer), "plain small look", "eye"));
  }
  if (answer.text) tools.append(button("Copy", () => copy(answer.text), "plain small", "copy"));
  if (turn === conversation.turns.at(-1) && answer === turn.answers.at(-1) && !running) {
    tools.append(button(answer.error ? "Try again" : "Regenerate", () => actions.ask(turn), "plain small", "again"));
  }
  box.append(tools);
  if (looked?.answer === answer) box.append(lensOf(looked.lens, images, actions.closeLens));
  return box;
}

function drawTurn(view, turn, index) {
  const pictures = turn.images.map((url, at) => {
    const alt = `Image ${at + 1} of question ${index + 1}`;
    const thumb = button("", () => enlarge(url, alt), "thumb");
    thumb.append(picture(url, alt));
    return thumb;
  });
  const question = element("div", "question",
    pictures.length ? element("div", "pictures", ...pictures) : null,
    turn.question ? element("div", "said", turn.question) : null);
  const answers = element("div", turn.answers.length > 1 ? "answers many" : "answers",
    ...turn.answers.map((answer) => drawAnswer(view, turn, answer)));
  const item = element("li", "", question);
  if (!view.running) {
    const edit = button("Edit", () => view.actions.edit(index), "plain small", "pen");
    edit.title = "Ask this differently; what follows is taken back";
    item.append(element("div", "row after", edit));
  }
  item.append(answers);
  return item;
}

/** Whether the end of the conversation is in sight, so that it should stay there. */
export function atEnd() {
  const main = find("main");
  return main.scrollHeight - main.scrollTop - main.clientHeight < 80;
}

export function toEnd() {
  find("main").scrollTop = find("main").scrollHeight;
}

/** Draws the conversation. */
export function drawTurns(view) {
  const { turns } = view.conversation;
  find("welcome").hidden = turns.length > 0;
  find("turns").replaceChildren(...turns.map((turn, index) => drawTurn(view, turn, index)));
  find("send").hidden = view.running !== null;
  find("stop").hidden = view.running === null;
}
