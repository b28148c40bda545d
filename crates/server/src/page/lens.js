// The lens: where the words of a question and its answer look in the images.

import { button, choice, element, picture } from "./parts.js";

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
  const layers = layer === "all" ? [...Array(lens.layers).keys()] : [Number(layer)];
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

/** Paints patches over an image: the brightest is the one that matters most. */
function paint(canvas, image, patches) {
  canvas.width = image.columns;
  canvas.height = image.rows;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(image.columns, image.rows);
  const [low, high] = [Math.min(...patches), Math.max(...patches)];
  patches.forEach((value, patch) => {
    const part = high > low ? (value - low) / (high - low) : 0;
    pixels.data.set([255, 90 + 150 * part, 0, 30 + 190 * part], 4 * patch);
  });
  context.putImageData(pixels, 0, 0);
}

function blank(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

/** Returns the lens over a turn: its images, its words, and how to look. */
export function lensOf(lens, urls, close) {
  const look = { layer: "all", way: "reads" };
  let chosen = null;
  const canvases = lens.images.map(() => element("canvas"));
  const said = element("p", "note");
  said.setAttribute("role", "status");

  function show(word) {
    if (word === null) {
      canvases.forEach(blank);
      said.textContent = "Point at a word, or go through them with the Tab key.";
      return;
    }
    const shares = lens.images.map((image, index) => {
      const tokens = tokensOf(lens, image, word, look);
      paint(canvases[index], image, patchesOf(image, tokens));
      return tokens.reduce((sum, weight) => sum + weight, 0) / (look.way === "reads" ? 1 : image.tokens);
    });
    const share = (100 * shares.reduce((sum, one) => sum + one, 0)).toFixed(1);
    const { text } = lens.words[word];
    said.textContent = look.way === "reads"
      ? `“${text.trim()}”: ${share} % of its attention goes to the image`
      : `“${text.trim()}”: gets ${share} % of the image's attention`;
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
  function choose(index) {
    chosen = index;
    words.forEach((word, other) => word.setAttribute("aria-pressed", String(other === index)));
    show(index);
  }
  const spoken = (role) => words.filter((_, index) => lens.words[index].role === role);
  const layers = [...Array(lens.layers).keys()].map((layer) => [String(layer), `layer ${layer + 1}`]);
  const settings = element("div", "row",
    choice("Layers", [["all", "all, averaged"], ...layers], (value) => {
      look.layer = value;
      show(chosen);
    }),
    choice("Show", [["reads", "what the word looks at"], ["is_read", "what looks at the word"]], (value) => {
      look.way = value;
      show(chosen);
    }),
    button("Close the lens", close));
  const pictures = urls.map((url, index) =>
    element("div", "seen", picture(url, `Image ${index + 1}, with what is looked at lit up`), canvases[index]));
  const box = element("section", "lens",
    element("div", "pictures", ...pictures), said,
    element("p", "words", element("b", "", "Question "), ...spoken("user")),
    element("p", "words", element("b", "", "Answer "), ...spoken("assistant")),
    settings);
  box.setAttribute("aria-label", "Where the words look");
  show(null);
  return box;
}
