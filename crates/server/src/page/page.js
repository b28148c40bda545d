// The page: conversations with the server that it comes from, kept in this browser.

import { decode, lensOf } from "./lens.js";
import { button, element, find, picture } from "./parts.js";
import * as store from "./store.js";

const POLICIES = ["mutual", "causal", "concentric", "prefix", "image-bidirectional"];
const EXAMPLES = [
  ["flat.jpg", "Shapes and things", "How many things are there?"],
  ["room.jpg", "A room", "What color is the sphere?"],
  ["sign.jpg", "Signs", "What is written on the sign?"],
  ["chart.jpg", "A chart", "Which bar is the highest?"],
];
/** The longest side of a picture that is kept and sent; models see less. */
const LONGEST = 1024;

/** { id, turns: [{ question, images: [data URI], answers: [{ policy, text, note, error }] }] } */
let conversation = fresh();
let images = [];
let running = null;
/** The answer that is under the lens, and what the lens shows. */
let looked = null;

function fresh() {
  return { id: `${Date.now()}-${Math.random()}`, turns: [] };
}

function say(text) {
  find("status").textContent = text;
}

function remember() {
  if (store.keep(conversation) > 0) say("The oldest conversations made room for this one.");
}

function headers() {
  const key = find("key").value;
  return { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) };
}

async function post(path, body, signal) {
  const response = await fetch(path, { method: "POST", headers: headers(), body: JSON.stringify(body), signal });
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw new Error(told?.error?.message ?? `the server answered with status ${response.status}`);
}

/** The conversation as the API takes it, up to a question; with an answer, up to that. */
function messages(last, answer) {
  const system = find("system").value.trim();
  const said = system ? [{ role: "system", content: system }] : [];
  const { turns } = conversation;
  for (const turn of turns.slice(0, turns.indexOf(last) + 1)) {
    const content = turn.images.map((url) => ({ type: "image_url", image_url: { url } }));
    content.push({ type: "text", text: turn.question });
    said.push({ role: "user", content });
    const reply = turn === last ? answer : turn.answers[0];
    if (reply) said.push({ role: "assistant", content: reply.text });
  }
  return said;
}

function drawAnswer(turn, answer) {
  const box = element("section", "answer",
    element("h3", "", answer.policy), element("div", "text", answer.text));
  box.setAttribute("aria-busy", String(Boolean(answer.busy)));
  if (answer.note) box.append(element("div", "note", answer.note));
  if (answer.error) {
    const told = element("div", "error", answer.error);
    told.setAttribute("role", "alert");
    box.append(told);
  }
  if (looked?.answer === answer) {
    box.append(lensOf(looked.lens, turnsImages(turn), () => {
      looked = null;
      draw();
    }));
  } else if (!answer.busy && !answer.error && turnsImages(turn).length) {
    box.append(button("Where does it look?", () => look(turn, answer)));
  }
  return box;
}

/** The images that a turn can see: its own and those before. */
function turnsImages(turn) {
  const { turns } = conversation;
  return turns.slice(0, turns.indexOf(turn) + 1).flatMap((one) => one.images);
}

function drawTurn(turn, index) {
  const item = element("li", "",
    element("div", "question",
      ...turn.images.map((url, at) => picture(url, `Image ${at + 1} of question ${index + 1}`)),
      element("div", "", turn.question)),
    element("div", "answers", ...turn.answers.map((answer) => drawAnswer(turn, answer))));
  if (!running) {
    const row = element("div", "row", button("Edit", () => edit(index)));
    if (index === conversation.turns.length - 1) row.prepend(button("Regenerate", () => ask(turn)));
    item.append(row);
  }
  return item;
}

function draw() {
  const { turns } = conversation;
  find("welcome").hidden = turns.length > 0;
  find("turns").replaceChildren(...turns.map(drawTurn));
  find("images").replaceChildren(...images.map((url, index) => element("li", "",
    picture(url, `Image ${index + 1}`),
    button(`Remove image ${index + 1}`, () => {
      images.splice(index, 1);
      draw();
    }))));
  find("send").disabled = running !== null;
  find("stop").hidden = running === null;
}

function drawHistory() {
  const kept = store.conversations();
  find("conversations").replaceChildren(...kept.map((one) => {
    const title = one.turns[0]?.question || "A picture";
    const open = button(title, () => {
      running?.abort();
      [conversation, looked] = [one, null];
      find("history").open = false;
      draw();
    });
    const gone = button("Delete", () => {
      store.forget(one.id);
      drawHistory();
    });
    gone.setAttribute("aria-label", `Delete “${title}”`);
    return element("li", "row", open, gone);
  }));
  if (!kept.length) find("conversations").append(element("li", "", "None yet."));
}

/** Takes back a question and what followed, to ask it differently. */
function edit(index) {
  const [turn] = conversation.turns.splice(index);
  images = turn.images;
  find("question").value = turn.question;
  remember();
  draw();
  find("question").focus();
}

async function look(turn, answer) {
  say("Looking…");
  try {
    const body = { messages: messages(turn, answer), attention: answer.policy };
    const response = await post("/v1/attention", body);
    looked = { answer, lens: decode(await response.json()) };
    say("");
  } catch (error) {
    say(`The lens does not work here: ${error.message}`);
  }
  draw();
}

async function ask(turn) {
  const policies = [find("attention").value, find("compare").value];
  turn.answers = [...new Set(policies.filter(Boolean))].map((policy) => ({ policy, text: "", busy: true }));
  running = new AbortController();
  const { signal } = running;
  const asked = conversation;
  say("");
  draw();
  await Promise.all(turn.answers.map((answer) => stream(turn, answer, signal)));
  running = null;
  if (asked === conversation) remember();
  say(turn.answers.map(({ policy, text }) => `${policy}: ${text}`).join(" — "));
  draw();
}

async function stream(turn, answer, signal) {
  const seed = find("seed").value;
  try {
    const response = await post("/v1/chat/completions", {
      messages: messages(turn),
      attention: answer.policy,
      temperature: Number(find("temperature").value),
      top_p: Number(find("top_p").value),
      ...(seed && { seed: Number(seed) }),
      max_tokens: Number(find("max_tokens").value),
      stream: true,
      stream_options: { include_usage: true },
    }, signal);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      events.forEach((event) => take(answer, event.replace(/^data: /, "")));
      draw();
    }
  } catch (error) {
    if (error.name === "AbortError") answer.note = "stopped";
    else answer.error = error.message;
  }
  answer.busy = false;
}

function take(answer, event) {
  if (event === "[DONE]") return;
  const chunk = JSON.parse(event);
  if (chunk.error) throw new Error(chunk.error.message);
  answer.text += chunk.choices[0]?.delta.content ?? "";
  if (chunk.usage) {
    const { first_token_ms, decode_ms } = chunk.timings;
    const { prompt_tokens, completion_tokens, prompt_tokens_details } = chunk.usage;
    const speed = completion_tokens > 1 ? (completion_tokens - 1) / (decode_ms / 1000) : 0;
    const written = speed ? `, ${completion_tokens} written at ${speed.toFixed(1)}/s` : "";
    answer.note = `${prompt_tokens} tokens read (${prompt_tokens_details.cached_tokens} kept), ` +
      `first after ${first_token_ms.toFixed(0)} ms${written}`;
  }
}

/** Returns a picture as a data URI, made smaller if it is larger than anything looks at. */
async function shrunk(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  const canvas = element("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return scale === 1 && file.type === "image/png" ? canvas.toDataURL("image/png") : canvas.toDataURL("image/jpeg", 0.92);
}

async function addFiles(files) {
  for (const file of files) {
    if (!file.type.startsWith("image/")) {
      say(`“${file.name}” is not a picture.`);
      continue;
    }
    try {
      images.push(await shrunk(file));
    } catch {
      say(`“${file.name}” is not a picture that this browser can read.`);
    }
  }
  draw();
  find("question").focus();
}

function drawExamples() {
  find("examples").replaceChildren(...EXAMPLES.map(([file, title, question]) => {
    const made = button("", async () => {
      const response = await fetch(`/page/${file}`);
      await addFiles([new File([await response.blob()], file, { type: "image/jpeg" })]);
      find("question").value = question;
    });
    made.append(picture(`/page/${file}`, ""), element("span", "", title));
    return element("li", "", made);
  }));
}

async function nameModel() {
  try {
    const response = await fetch("/v1/models", { headers: headers() });
    if (response.ok) find("model").textContent = (await response.json()).data[0].id;
  } catch {
    say("The server does not answer.");
  }
}

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = find("question").value.trim();
  if (running || (!question && images.length === 0)) return;
  const turn = { question, images, answers: [] };
  conversation.turns.push(turn);
  images = [];
  find("question").value = "";
  ask(turn);
});
find("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    find("ask").requestSubmit();
  }
});
find("stop").addEventListener("click", () => running?.abort());
find("new").addEventListener("click", () => {
  running?.abort();
  [conversation, images, looked] = [fresh(), [], null];
  draw();
  find("question").focus();
});
find("history").addEventListener("toggle", drawHistory);
for (const id of ["files", "camera"]) {
  find(id).addEventListener("change", (event) => addFiles([...event.target.files]));
}
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) addFiles([...event.clipboardData.files]);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  find("ask").classList.add("drop");
});
document.addEventListener("dragleave", () => find("ask").classList.remove("drop"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("ask").classList.remove("drop");
  addFiles([...event.dataTransfer.files]);
});
find("attention").append(...POLICIES.map((policy) => new Option(policy, policy)));
find("compare").append(new Option("nothing", ""), ...POLICIES.map((policy) => new Option(policy, policy)));
store.keepSettings(document.querySelectorAll("[data-kept]"));
conversation = store.conversations()[0] ?? conversation;
drawExamples();
draw();
nameModel();
