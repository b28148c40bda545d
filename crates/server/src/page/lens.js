// The lens: where the words of a question and its answer look in the images.

import { button, choice, element, picture, slider, symbol } from "./parts.js";

function floats(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

/** Decodes the server's answer. */
export function decode(answer) {
  const images = answer.images.map((image) => ({
    ...image,
    patches: floats(image.patches),
    reads: floats(image.reads),
    is_read: floats(image.is_read),
  }));
  return { layers: answer.layers, words: answer.words, images };
}

/** How much a word and each vision token of an image have to do with each other. */
function tokensOf(lens, image, word, { layer, way }) {
  const sums = new Float32Array(image.tokens);
  const layers = layer === 0 ? [...Array(lens.layers).keys()] : [layer - 1];
  for (const one of layers) {
    const start = (one * lens.words.length + word) * image.tokens;
    for (let token = 0; token < image.tokens; token += 1) {
      sums[token] += image[way][start + token] / layers.length;
    }
  }
  return sums;
}

/** The same for each patch: through the connector. */
function patchesOf(image, tokens) {
  const count = image.rows * image.columns;
  const patches = new Float32Array(count);
  for (let token = 0; token < image.tokens; token += 1) {
    for (let patch = 0; patch < count; patch += 1) {
      patches[patch] += tokens[token] * image.patches[token * count + patch];
    }
  }
  return patches;
}

/** The share of a word's attention that goes to the images, or of theirs that goes to it. */
function shareOf(lens, word, look) {
  return lens.images.reduce((sum, image) => {
    const tokens = tokensOf(lens, image, word, look).reduce((all, weight) => all + weight, 0);
    return sum + tokens / (look.way === "reads" ? 1 : image.tokens * lens.images.length);
  }, 0);
}

/** Leaves light only where patches matter, or paints the more the more they do. */
const PAINTS = {
  spotlight: (part) => [8, 14, 24, 225 * (1 - part) ** 1.5],
  heat: (part) => [255 * Math.min(1, 2 * part), 255 * Math.max(0, 1.6 * part - 0.6), 120 * (1 - part), 40 + 170 * part],
};

function paint(canvas, image, patches, highest, how) {
  canvas.width = image.columns;
  canvas.height = image.rows;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(image.columns, image.rows);
  const low = Math.min(...patches);
  patches.forEach((value, patch) => {
    const part = highest > low ? (value - low) / (highest - low) : 0;
    pixels.data.set(PAINTS[how](part), 4 * patch);
  });
  context.putImageData(pixels, 0, 0);
}

/** Returns the lens over a turn: its images, its words, and how to look. */
export function lensOf(lens, urls, close) {
  const look = { layer: 0, way: "reads", how: "spotlight" };
  let chosen = null;
  const canvases = lens.images.map(() => element("canvas"));
  const said = element("p", "note");
  said.setAttribute("role", "status");

  function show(word) {
    if (word === null) {
      canvases.forEach((canvas) => canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height));
      said.textContent = "Point at a word, tap it, or go through them with the Tab key. The line below a word shows how much it has to do with the picture.";
      return;
    }
    const all = lens.images.map((image) => patchesOf(image, tokensOf(lens, image, word, look)));
    const highest = Math.max(...all.map((patches) => Math.max(...patches)));
    lens.images.forEach((image, index) => paint(canvases[index], image, all[index], highest, look.how));
    const share = (100 * shareOf(lens, word, look)).toFixed(1);
    const text = lens.words[word].text.trim();
    const images = lens.images.length > 1 ? "images" : "image";
    said.textContent = look.way === "reads"
      ? `“${text}”: ${share} % of its attention goes to the ${images}`
      : `“${text}”: gets ${share} % of the attention of the ${images}`;
  }

  const words = lens.words.map(({ text }, index) => {
    const word = button(text, () => choose(chosen === index ? null : index), "word");
    word.setAttribute("aria-pressed", "false");
    word.addEventListener("mouseenter", () => show(index));
    word.addEventListener("focus", () => show(index));
    word.addEventListener("mouseleave", () => show(chosen));
    word.addEventListener("blur", () => show(chosen));
    return word;
  });

  /** Draws below each word how much it has to do with the images. */
  function underline() {
    const shares = words.map((_, word) => shareOf(lens, word, look));
    const highest = Math.max(...shares);
    words.forEach((word, index) => {
      const part = highest > 0 ? Math.round(100 * shares[index] / highest) : 0;
      word.style.setProperty("--share", `color-mix(in srgb, var(--accent) ${part}%, transparent)`);
    });
  }

  function choose(index) {
    chosen = index;
    words.forEach((word, other) => word.setAttribute("aria-pressed", String(other === index)));
    show(index);
  }

  function change(what) {
    Object.assign(look, what);
    underline();
    show(chosen);
  }

  const spoken = (role) => words.filter((_, index) => lens.words[index].role === role);
  const settings = element("div", "row",
    slider("Layer", lens.layers, (layer) => change({ layer })),
    choice("Show", [["reads", "what the word looks at"], ["is_read", "what looks at the word"]], (way) => change({ way })),
    choice("as", [["spotlight", "spotlight"], ["heat", "heat map"]], (how) => change({ how })));
  const pictures = urls.map((url, index) =>
    element("div", "seen", picture(url, `Image ${index + 1}, with what is looked at lit up`), canvases[index]));
  const box = element("section", "lens",
    element("div", "pictures", ...pictures),
    element("div", "",
      element("p", "words", element("b", "", "Question"), ...spoken("user")),
      element("p", "words", element("b", "", "Answer"), ...spoken("assistant")),
      said,
      settings),
    symbol("Close the lens", "cross", close, "plain small shut"));
  box.setAttribute("aria-label", "Where the words look");
  // At first: the answer's word that looks at the picture most.
  const answers = words.map((_, index) => index).filter((index) => lens.words[index].role === "assistant");
  const shares = answers.map((index) => shareOf(lens, index, look));
  choose(answers.length ? answers[shares.indexOf(Math.max(...shares))] : null);
  return box;
}
