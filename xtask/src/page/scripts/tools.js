const until = (done) => new Promise((resolve, reject) => {
  const deadline = Date.now() + 60_000;
  const look = () => {
    if (done()) resolve();
    else if (Date.now() > deadline) reject(new Error(`waited in vain for ${done}`));
    else setTimeout(look, 10);
  };
  look();
});
const find = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const press = (text, selector = 'button') => {
  const found = all(selector).find((it) => it.textContent.includes(text) || it.ariaLabel?.includes(text));
  if (!found) throw new Error(`there is no “${text}”`);
  found.click();
};
const choose = (id, value) => {
  find(id).value = value;
  find(id).dispatchEvent(new Event('change'));
};
const answered = (count) => until(() => all('.answer .note').length === count && !find('send').hidden);
