// Pieces of the page.

export const find = (id) => document.getElementById(id);

export function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

export function icon(shape) {
  const made = element("span", `icon ${shape}`);
  made.ariaHidden = "true";
  return made;
}

export function button(label, action, className, shape) {
  const made = element("button", className, shape && icon(shape), label);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}

/** Returns a button that shows a symbol, and says its label to those who do not see it. */
export function symbol(label, shape, action, className) {
  const made = button("", action, className, shape);
  made.ariaLabel = label;
  made.title = label;
  return made;
}

export function picture(url, alt) {
  const made = element("img");
  made.src = url;
  made.alt = alt;
  return made;
}

export function choice(label, values, onChange) {
  const select = element("select");
  select.append(...values.map(([value, text]) => new Option(text, value)));
  select.addEventListener("change", () => onChange(select.value));
  return element("label", "", label, " ", select);
}

export function slider(label, most, onChange) {
  const range = element("input");
  Object.assign(range, { type: "range", min: 0, max: most, step: 1, value: 0 });
  const shown = element("output");
  const tell = () => {
    const text = range.value === "0" ? "all, averaged" : `${range.value} of ${most}`;
    shown.value = text;
    range.ariaValueText = text;
    onChange(Number(range.value));
  };
  range.addEventListener("input", tell);
  const made = element("label", "", label, range, shown);
  tell();
  return made;
}

/** Says something below the conversation, with a button if there is something to do about it. */
export function say(text, action) {
  find("status").replaceChildren(text, " ", ...(action ? [action] : []));
  if (!text) find("status").replaceChildren();
}
