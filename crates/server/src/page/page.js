// The page: conversations with the server that it comes from, kept in this browser.

import { events, modelName, post, sampling } from "./api.js";
import { decode } from "./lens.js";
import { button, element, find, picture, say, symbol } from "./parts.js";
import * as pictures from "./pictures.js";
import * as store from "./store.js";
import { drawTurns, follow, heard, POLICIES, watchEnd } from "./turns.js";

const EXAMPLES = [
  ["flat.jpg", "Shapes and things", ["What can you see in the image?", "What color is the star?", "How many purple objects are there in the image?"]],
  ["room.jpg", "A room", ["What can you see in the image?", "What color is the cone?", "How many spheres are there in the image?"]],
  ["sign.jpg", "Signs", ["What does the sign at the top say?", "What number is on the sign at the bottom?", "What color is the number?"]],
  ["chart.jpg", "A chart", ["What is the value of bar D?", "Which bar is the highest?", "How many bars are there in the chart?"]],
];

/** { id, turns: [{ question, images: [data URI], answers: [{ policy, text, note, error }] }] } */
const view = {
  conversation: fresh(),
  /** What stops the answers that are being written. */
  running: null,
  /** The answer that is under the lens, and what the lens shows. */
  looked: null,
  actions: { ask, edit, look, closeLens },
};

function fresh() {
  return { id: `${Date.now()}-${Math.random()}`, turns: [] };
}

function draw() {
  drawTurns(view);
}

async function remember(conversation) {
  if ((await store.keep(conversation)) > 0) say("The oldest conversations made room for this one.");
  drawHistory();
}

/** The conversation as the API takes it, up to a question; with an answer, up to that. */
function messages(last, answer) {
  const system = find("system").value.trim();
  const said = system ? [{ role: "system", content: system }] : [];
  for (const turn of heard(view.conversation, last)) {
    const content = turn.images.map((url) => ({ type: "image_url", image_url: { url } }));
    content.push({ type: "text", text: turn.question });
    said.push({ role: "user", content });
    const reply = turn === last ? answer : turn.answers[0];
    if (reply) said.push({ role: "assistant", content: reply.text });
  }
  return said;
}

function open(conversation) {
  view.running?.abort();
  [view.conversation, view.looked, view.running] = [conversation, null, null];
  pictures.setImages([]);
  say("");
  draw();
  drawHistory();
  toggleSide(false);
  follow(conversation.turns.length > 0);
  if (!conversation.turns.length) find("main").scrollTop = 0;
}

async function drawHistory() {
  const kept = await store.conversations();
  find("conversations").replaceChildren(...kept.map((one) => {
    const title = one.turns[0]?.question || "A picture";
    const made = button("", () => open(one));
    made.append(element("span", "title", title));
    made.title = `${title} (${new Date(one.when).toLocaleString()})`;
    if (one.id === view.conversation.id) made.ariaCurrent = "true";
    const remove = symbol(`Delete “${title}”`, "cross", async () => {
      await store.forget(one.id);
      if (one.id === view.conversation.id) open(fresh());
      drawHistory();
      say("Deleted.", button("Undo", async () => {
        await store.keep(one);
        say("");
        drawHistory();
      }, "small"));
    }, "remove");
    return element("li", "", made, remove);
  }));
}

/** Takes back a question and what followed, to ask it differently. */
function edit(index) {
  const [turn] = view.conversation.turns.splice(index);
  pictures.setImages(turn.images);
  find("question").value = turn.question;
  remember(view.conversation);
  draw();
  find("question").focus();
}

async function look(turn, answer) {
  follow(false);
  say("Looking…");
  try {
    const body = { messages: messages(turn, answer), attention: answer.policy };
    const response = await post("/v1/attention", body);
    view.looked = { answer, lens: decode(await response.json()) };
    say("");
  } catch (error) {
    say(`The lens does not work here: ${error.message}`);
  }
  draw();
  // Whoever uses the keyboard goes on where they were.
  const lens = document.querySelector(".lens");
  lens?.querySelector('.word[aria-pressed="true"]')?.focus({ preventScroll: true });
  lens?.scrollIntoView({ block: "nearest" });
}

function closeLens() {
  const boxes = [...document.querySelectorAll(".answer")];
  const index = boxes.findIndex((box) => box.classList.contains("seen-through"));
  view.looked = null;
  draw();
  document.querySelectorAll(".answer")[index]?.querySelector(".look")?.focus({ preventScroll: true });
}

async function ask(turn) {
  const policies = [find("attention").value, find("compare").value];
  turn.answers = [...new Set(policies.filter(Boolean))].map((policy) => ({ policy, text: "", busy: true }));
  const running = new AbortController();
  const { conversation } = view;
  [view.running, view.looked] = [running, null];
  say("");
  find("suggestions").replaceChildren();
  draw();
  follow(true);
  if (document.activeElement === document.body) find("stop").focus();
  await Promise.all(turn.answers.map((answer) => stream(turn, answer, running.signal)));
  remember(conversation);
  if (view.running !== running) return;
  view.running = null;
  const stopping = document.activeElement === find("stop");
  draw();
  // The button that had the focus is gone; a phone's keyboard would hide the answer.
  if (stopping && matchMedia("(pointer: fine)").matches) find("question").focus();
}

async function stream(turn, answer, signal) {
  try {
    const body = {
      messages: messages(turn),
      attention: answer.policy,
      ...sampling(),
      stream: true,
      stream_options: { include_usage: true },
    };
    const onBusy = () => say("The server is busy; this question waits for its turn.");
    for await (const event of events(await post("/v1/chat/completions", body, { signal, onBusy }))) {
      say("");
      take(answer, event);
    }
  } catch (error) {
    if (error.name === "AbortError") answer.note = "stopped";
    else answer.error = error.message;
  }
  answer.busy = false;
}

function take(answer, event) {
  answer.text += event.choices[0]?.delta.content ?? "";
  answer.grow();
  if (event.usage) {
    const { first_token_ms, decode_ms } = event.timings;
    const { prompt_tokens, completion_tokens, prompt_tokens_details } = event.usage;
    const speed = completion_tokens > 1 ? (completion_tokens - 1) / (decode_ms / 1000) : 0;
    const written = speed ? ` · ${completion_tokens} tokens written, ${speed.toFixed(speed < 100 ? 1 : 0)} a second` : "";
    const kept = prompt_tokens_details.cached_tokens;
    answer.note = `${prompt_tokens} tokens read${kept ? `, ${kept} of them kept from before` : ""} · ` +
      `first word after ${duration(first_token_ms)}${written}`;
  }
}

function duration(milliseconds) {
  return milliseconds < 1000 ? `${milliseconds.toFixed(0)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

function submit(question) {
  if (view.running || (!question && pictures.images.length === 0)) return;
  const turn = { question, images: pictures.images, answers: [] };
  view.conversation.turns.push(turn);
  pictures.setImages([]);
  find("question").value = "";
  ask(turn);
}

function drawExamples() {
  find("examples").replaceChildren(...EXAMPLES.map(([file, title, questions]) => {
    const made = button("", async () => {
      const response = await fetch(`/page/${file}`);
      await pictures.addFiles([new File([await response.blob()], file, { type: "image/jpeg" })]);
      find("suggestions").replaceChildren(...questions.map((text) => button(text, () => submit(text))));
      find("suggestions").firstChild.focus();
    });
    made.append(picture(`/page/${file}`, ""), element("span", "", title));
    return element("li", "", made);
  }));
}

async function nameModel() {
  try {
    const name = await modelName();
    find("model").textContent = name;
    find("miniature").hidden = name !== "miniature";
    say("");
  } catch (error) {
    const keyless = error.status === 401;
    say(error.message, keyless ? button("Settings", () => find("settings").showModal(), "small") : button("Try again", nameModel, "small"));
  }
}

function toggleSide(open) {
  find("side").classList.toggle("open", open);
  find("open-side").ariaExpanded = String(open);
}

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  submit(find("question").value.trim());
});
find("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    find("ask").requestSubmit();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    view.running?.abort();
    toggleSide(false);
  }
});
find("stop").addEventListener("click", () => view.running?.abort());
find("new").addEventListener("click", () => {
  open(fresh());
  find("question").focus();
});
find("open-side").addEventListener("click", () => {
  toggleSide(true);
  find("new").focus();
});
find("close-side").addEventListener("click", () => {
  toggleSide(false);
  find("open-side").focus();
});
find("main").addEventListener("click", () => toggleSide(false));
find("open-settings").addEventListener("click", () => find("settings").showModal());
find("close-settings").addEventListener("click", () => find("settings").close());
find("key").addEventListener("change", nameModel);
find("forget-all").addEventListener("click", async () => {
  if (!confirm("Delete all conversations of this browser?")) return;
  await store.forgetAll();
  open(fresh());
  find("settings").close();
});
find("theme").addEventListener("change", () => {
  document.documentElement.dataset.theme = find("theme").value;
});
find("attention").append(...POLICIES.map(([policy]) => new Option(policy, policy)));
find("compare").append(new Option("off", ""), ...POLICIES.map(([policy]) => new Option(policy, policy)));
find("attention").title = POLICIES.map(([, about]) => about).join("\n");
find("compare").title = "A second answer under another policy, side by side";
watchEnd();
pictures.listen();
store.keepSettings(document.querySelectorAll("[data-kept]"));
document.documentElement.dataset.theme = find("theme").value;
drawExamples();
nameModel();
open((await store.conversations())[0] ?? view.conversation);
