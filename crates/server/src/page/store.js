// What this browser keeps: conversations in its database, settings beside it.

const SETTINGS = "aki.settings";
const TABLE = "conversations";

/** Conversations where there is no database, as in some private windows: until the page is closed. */
const unkept = new Map();

const database = new Promise((resolve) => {
  try {
    const asked = indexedDB.open("aki", 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore(TABLE, { keyPath: "id" });
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => resolve(null);
  } catch {
    resolve(null);
  }
});

async function ask(mode, what) {
  const opened = await database;
  if (!opened) return null;
  return new Promise((resolve, reject) => {
    const transaction = opened.transaction(TABLE, mode);
    const asked = what(transaction.objectStore(TABLE));
    transaction.oncomplete = () => resolve(asked.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

/** Returns the conversations, the newest first: [{ id, when, turns }]. */
export async function conversations() {
  const kept = (await ask("readonly", (table) => table.getAll()).catch(() => null)) ?? [...unkept.values()];
  return kept.filter(({ turns }) => Array.isArray(turns)).sort((a, b) => b.when - a.when);
}

/** Keeps a conversation; old ones go if there is no room. Returns how many had to go. */
export async function keep(conversation) {
  const { id, turns } = conversation;
  const answer = ({ policy, text, note, error }) => ({ policy, text, note, error });
  const copy = { id, when: Date.now(), turns: turns.map((turn) => ({ ...turn, answers: turn.answers.map(answer) })) };
  if (!turns.length) return forget(id).then(() => 0);
  for (let gone = 0; ; gone += 1) {
    try {
      if ((await ask("readwrite", (table) => table.put(copy))) === null) unkept.set(id, copy);
      return gone;
    } catch {
      const others = (await conversations()).filter((one) => one.id !== id);
      if (!others.length) {
        unkept.set(id, copy);
        return gone;
      }
      await forget(others.at(-1).id);
    }
  }
}

/** Forgets a conversation. */
export async function forget(id) {
  unkept.delete(id);
  await ask("readwrite", (table) => table.delete(id)).catch(() => null);
}

/** Forgets all conversations. */
export async function forgetAll() {
  unkept.clear();
  await ask("readwrite", (table) => table.clear()).catch(() => null);
}

/** Makes inputs remember their values. */
export function keepSettings(inputs) {
  let values = {};
  try {
    values = JSON.parse(localStorage.getItem(SETTINGS)) ?? {};
  } catch {
    // Nothing is kept, or something that is not ours.
  }
  for (const input of inputs) {
    if (typeof values[input.id] === "string") input.value = values[input.id];
    input.addEventListener("change", () => {
      values[input.id] = input.value;
      try {
        localStorage.setItem(SETTINGS, JSON.stringify(values));
      } catch {
        // They hold until the page is closed.
      }
    });
  }
}
