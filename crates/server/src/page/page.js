// The page: a conversation with the server that it comes from, kept in this browser.
"use strict";

const find = (id) => document.getElementById(id);
const STORE = "aki.conversation";

/** What has been said: { question, images: [data URI], answers: [{ policy, text, note, error }] }. */
let turns = restore();
let images = [];
let running = null;

function restore() {
  try {
    const found = JSON.parse(localStorage.getItem(STORE) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

function remember() {
  try {
    localStorage.setItem(STORE, JSON.stringify(turns));
  } catch {
    find("status").textContent = "This conversation is too large to be kept in the browser.";
  }
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function button(label, action) {
  const made = element("button", "", label);
  made.type = "button";
  made.disabled = running !== null;
  made.addEventListener("click", action);
  return made;
}

function picture(url, number) {
  const made = element("img");
  made.src = url;
  made.alt = `Image ${number + 1}`;
  return made;
}

function draw() {
  const list = find("turns");
  list.replaceChildren(...turns.map((turn, index) => {
    const item = element("li");
    const question = element("div", "question");
    question.append(...turn.images.map(picture), element("div", "", turn.question));
    const answers = element("div", "answers");
    for (const answer of turn.answers) {
      const box = element("section", "answer");
      box.append(element("h2", "", answer.policy), element("div", "text", answer.text));
      if (answer.note) box.append(element("div", "note", answer.note));
      if (answer.error) box.append(element("div", "error", answer.error));
      answers.append(box);
    }
    item.append(question, answers);
    if (index === turns.length - 1) {
      const row = element("div", "row");
      row.append(button("Regenerate", () => answer(turn)), button("Edit", () => edit()));
      item.append(row);
    }
    return item;
  }));
  find("images").replaceChildren(...images.map((url, index) => {
    const item = element("li");
    item.append(picture(url, index), button(`Remove image ${index + 1}`, () => {
      images.splice(index, 1);
      draw();
    }));
    return item;
  }));
  find("send").disabled = running !== null;
  find("stop").hidden = running === null;
}

function edit() {
  const turn = turns.pop();
  images = turn.images;
  find("question").value = turn.question;
  remember();
  draw();
  find("question").focus();
}

/** The conversation as the API takes it, up to the question of the last turn. */
function messages() {
  return turns.flatMap((turn, index) => {
    const content = turn.images.map((url) => ({ type: "image_url", image_url: { url } }));
    content.push({ type: "text", text: turn.question });
    const said = [{ role: "user", content }];
    if (index < turns.length - 1) said.push({ role: "assistant", content: turn.answers[0]?.text ?? "" });
    return said;
  });
}

async function answer(turn) {
  const policies = [find("attention").value, find("compare").value];
  const wanted = [...new Set(policies.filter(Boolean))];
  turn.answers = wanted.map((policy) => ({ policy, text: "" }));
  running = new AbortController();
  draw();
  await Promise.all(turn.answers.map((answer) => stream(answer, running.signal)));
  running = null;
  remember();
  draw();
}

async function stream(answer, signal) {
  const headers = { "content-type": "application/json" };
  const key = find("key").value;
  if (key) headers.authorization = `Bearer ${key}`;
  const body = JSON.stringify({
    messages: messages(),
    attention: answer.policy,
    temperature: Number(find("temperature").value),
    max_tokens: Number(find("max_tokens").value),
    stream: true,
    stream_options: { include_usage: true },
  });
  try {
    const response = await fetch("/v1/chat/completions", { method: "POST", headers, body, signal });
    if (!response.ok) throw new Error((await response.json()).error.message);
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
    answer.note = `${prompt_tokens} tokens read (${prompt_tokens_details.cached_tokens} kept), ` +
      `first after ${first_token_ms.toFixed(0)} ms, ${completion_tokens} written at ${speed.toFixed(1)}/s`;
  }
}

async function addFiles(files) {
  for (const file of files) {
    if (!file.type.startsWith("image/")) continue;
    images.push(await new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(reader.error);
      reader.readAsDataURL(file);
    }));
  }
  draw();
}

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = find("question").value.trim();
  if (running || (!question && images.length === 0)) return;
  const turn = { question, images, answers: [] };
  turns.push(turn);
  images = [];
  find("question").value = "";
  answer(turn);
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
  turns = [];
  images = [];
  remember();
  draw();
});
find("files").addEventListener("change", (event) => addFiles(event.target.files));
document.addEventListener("paste", (event) => addFiles(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  find("ask").classList.add("drop");
});
document.addEventListener("dragleave", () => find("ask").classList.remove("drop"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("ask").classList.remove("drop");
  addFiles(event.dataTransfer.files);
});
draw();
