// The server that the page comes from.

import { find } from "./parts.js";

/** How often a server that is busy is asked again. */
const TRIES = 5;
const UNREACHABLE = "The server cannot be reached. Is it running, and are you online?";

function headers() {
  const key = find("key").value;
  return { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) };
}

const wait = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, seconds * 1000);
  signal?.addEventListener("abort", () => {
    clearTimeout(timer);
    reject(new DOMException("stopped", "AbortError"));
  });
});

/** Sends a request; one that a busy server refuses is sent again when it says. */
export async function post(path, body, { signal, onBusy } = {}) {
  for (let left = TRIES; ; left -= 1) {
    const asked = { method: "POST", headers: headers(), body: JSON.stringify(body), signal };
    const response = await fetch(path, asked).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Error(UNREACHABLE);
    });
    if (response.ok) return response;
    const pause = Number(response.headers.get("retry-after"));
    if (left > 1 && (response.status === 429 || response.status === 503) && pause) {
      onBusy?.();
      await wait(pause, signal);
      continue;
    }
    const told = await response.json().catch(() => null);
    throw new Error(told?.error?.message ?? `The server answered with status ${response.status}.`);
  }
}

/** Yields the events of a streamed answer. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Error("The connection to the server broke off.");
    });
    if (done) throw new Error("The server ended the answer early.");
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

/** Returns the name of the model that is served. */
export async function modelName() {
  const response = await fetch("/v1/models", { headers: headers() }).catch(() => {
    throw new Error(UNREACHABLE);
  });
  if (response.status === 401) {
    const error = new Error("This server asks for an API key: enter it in the settings.");
    throw Object.assign(error, { status: 401 });
  }
  if (!response.ok) throw new Error(`The server answered with status ${response.status}.`);
  return (await response.json()).data[0].id;
}

function number(id) {
  const { value } = find(id);
  return value === "" || Number.isNaN(Number(value)) ? undefined : Number(value);
}

/** Returns how words shall be chosen, as the API takes it. */
export function sampling() {
  const fields = ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "max_tokens"];
  return Object.fromEntries(fields.map((id) => [id, number(id)]).filter(([, value]) => value !== undefined));
}
