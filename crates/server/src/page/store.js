// What this browser keeps: conversations, the newest first, and settings.

const CONVERSATIONS = "aki.conversations";
const SETTINGS = "aki.settings";

function read(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Returns the conversations: [{ id, turns }]. */
export function conversations() {
  const found = read(CONVERSATIONS, []);
  return Array.isArray(found) ? found : [];
}

/** Keeps a conversation in the first place; returns how many old ones had to go to make room. */
export function keep(conversation) {
  const others = conversations().filter(({ id }) => id !== conversation.id);
  const all = conversation.turns.length ? [conversation, ...others] : others;
  for (let dropped = 0; all.length; dropped += 1) {
    try {
      localStorage.setItem(CONVERSATIONS, JSON.stringify(all));
      return dropped;
    } catch {
      all.pop();
    }
  }
  localStorage.removeItem(CONVERSATIONS);
  return others.length;
}

/** Forgets a conversation. */
export function forget(id) {
  localStorage.setItem(CONVERSATIONS, JSON.stringify(conversations().filter((it) => it.id !== id)));
}

/** Makes inputs remember their values. */
export function keepSettings(inputs) {
  const values = read(SETTINGS, {});
  for (const input of inputs) {
    if (values[input.id] !== undefined) input.value = values[input.id];
    input.addEventListener("change", () => {
      values[input.id] = input.value;
      localStorage.setItem(SETTINGS, JSON.stringify(values));
    });
  }
}
