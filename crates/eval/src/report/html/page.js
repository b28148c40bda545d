"use strict";
// Hides what the search does not ask for.
const part = (id) => document.getElementById(id);
const articles = [...document.querySelectorAll("#wrong article")];
const show = () => {
  const which = part("which").value, words = part("words").value.toLowerCase(), unread = part("unread").checked;
  let count = 0;
  for (const article of articles) {
    const wanted = (!which || article.dataset.benchmark === which) && (!unread || "unread" in article.dataset)
      && (!words || article.textContent.toLowerCase().includes(words));
    article.hidden = !wanted;
    count += wanted;
  }
  part("count").textContent = count + " shown";
};
if (articles.length) {
  for (const id of ["which", "words", "unread"]) part(id).addEventListener("input", show);
  show();
}
