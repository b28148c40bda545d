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

/** The turns that the model is told about, up to one: those before it that have an answer, and it. */
export function heard(conversation, last) {
  const { turns } = conversation;
  return turns.slice(0, turns.indexOf(last) + 1).filter((turn) => turn === last || turn.answers[0]?.text);
}

/** The images that a turn can see: its own and those before. */
function imagesOf(conversation, turn) {
  return heard(conversation, turn).flatMap((one) => one.images);
}

/** Pictures stay the elements that they are when the conversation is drawn anew: nothing jumps while they load. */
const thumbs = new WeakMap();

function thumbsOf(turn, index) {
  if (!thumbs.has(turn)) {
    thumbs.set(turn, turn.images.map((url, at) => {
      const alt = `Image ${at + 1} of question ${index + 1}`;
      const thumb = button("", () => enlarge(url, alt), "thumb");
      thumb.append(picture(url, alt));
      return thumb;
    }));
  }
  return thumbs.get(turn);
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
  const box = element("section", looked?.answer === answer ? "answer seen-through" : "answer");
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
    const again = answer.error ? "Try again" : "Regenerate";
    tools.append(button(again, () => actions.ask(turn), answer.error ? "plain small look" : "plain small", "again"));
  }
  box.append(tools);
  if (looked?.answer === answer) box.append(lensOf(looked.lens, images, actions.closeLens));
  return box;
}

function drawTurn(view, turn, index) {
  const pictures = thumbsOf(turn, index);
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

/** Whether the end of the conversation stays in sight when it grows. */
let following = true;

export function follow(end) {
  following = end;
  if (end) find("main").scrollTop = find("main").scrollHeight;
}

/** Stays at the end, whatever makes the conversation grow, until somebody reads further up. */
export function watchEnd() {
  const main = find("main");
  main.addEventListener("scroll", () => {
    following = main.scrollHeight - main.scrollTop - main.clientHeight < 80;
  });
  const stay = new ResizeObserver(() => {
    if (following) follow(true);
  });
  stay.observe(main);
  stay.observe(find("turns"));
}

/** Draws the conversation. */
export function drawTurns(view) {
  const { turns } = view.conversation;
  find("welcome").hidden = turns.length > 0;
  find("turns").replaceChildren(...turns.map((turn, index) => drawTurn(view, turn, index)));
  find("send").hidden = view.running !== null;
  find("stop").hidden = view.running === null;
}
