"use strict";
// Hides what the search does not ask for.
const part = (id) => document.getElementById(id);
const articles = [...document.querySelectorAll("#answers article")];
const show = () => {
  const which = part("which").value, kind = part("kind").value;
  const words = part("words").value.toLowerCase().split(" ").filter(Boolean);
  let count = 0;
  for (const article of articles) {
    const text = article.textContent.toLowerCase();
    const wanted = (!which || article.dataset.benchmark === which)
      && (!kind || article.dataset.kind.split(" ").includes(kind))
      && words.every((word) => text.includes(word));
    article.hidden = !wanted;
    count += wanted;
  }
  part("count").textContent = count ? count + " shown" : "nothing like that";
};
if (articles.length) {
  for (const id of ["which", "kind", "words"]) part(id).addEventListener("input", show);
  part("answers").addEventListener("click", (event) => {
    if (event.target.tagName === "IMG") event.target.closest("article").classList.toggle("large");
  });
  show();
}
