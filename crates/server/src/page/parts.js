// Pieces of the page.

export const find = (id) => document.getElementById(id);

export function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

export function button(label, action, className) {
  const made = element("button", className, label);
  made.type = "button";
  made.addEventListener("click", action);
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
