// Pictures of the next question: chosen, dropped, pasted, photographed.

import { button, element, find, picture, say, symbol } from "./parts.js";

/** The longest side of a picture that is kept and sent; models see less. */
const LONGEST = 1024;

/** The pictures of the next question, as data URIs. */
export let images = [];

export function setImages(urls) {
  images = [...urls];
  draw();
}

function draw() {
  find("images").replaceChildren(...images.map((url, index) => element("li", "",
    picture(url, `Image ${index + 1}`),
    symbol(`Remove image ${index + 1}`, "cross", () => setImages(images.filter((_, at) => at !== index))))));
  if (!images.length) find("suggestions").replaceChildren();
}

/** Returns a picture as a data URI, made smaller if it is larger than anything looks at. */
function shrunk(source, width, height, type) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const canvas = element("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return scale === 1 && type === "image/png" ? canvas.toDataURL("image/png") : canvas.toDataURL("image/jpeg", 0.92);
}

export async function addFiles(files) {
  for (const file of files) {
    if (!file.type.startsWith("image/")) {
      say(`“${file.name}” is not a picture.`);
      continue;
    }
    try {
      const bitmap = await createImageBitmap(file);
      setImages([...images, shrunk(bitmap, bitmap.width, bitmap.height, file.type)]);
      say("");
    } catch {
      say(`“${file.name}” is not a picture that this browser can read.`);
    }
  }
  find("question").focus();
}

/** Shows a picture as large as there is room. */
export function enlarge(url, alt) {
  const viewer = find("viewer");
  viewer.replaceChildren(picture(url, alt), button("Close", () => viewer.close()));
  viewer.showModal();
}

/** Takes a photo: a phone's own camera program does, and elsewhere a window with the camera's picture. */
async function photograph() {
  const coarse = matchMedia("(pointer: coarse)").matches;
  if (coarse || !navigator.mediaDevices?.getUserMedia) {
    find("camera").click();
    return;
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    say(error.name === "NotAllowedError" ? "The browser does not let this page use the camera." : "There is no camera.");
    return;
  }
  const [dialog, video] = [find("webcam"), find("preview")];
  video.srcObject = stream;
  dialog.onclose = () => {
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
  find("snap").onclick = () => {
    setImages([...images, shrunk(video, video.videoWidth, video.videoHeight, "image/jpeg")]);
    dialog.close();
    find("question").focus();
  };
  find("close-webcam").onclick = () => dialog.close();
  dialog.showModal();
}

/** Listens to every way in which pictures come. */
export function listen() {
  find("photo").addEventListener("click", photograph);
  for (const id of ["files", "camera"]) {
    find(id).addEventListener("change", async (event) => {
      await addFiles([...event.target.files]);
      event.target.value = "";
    });
  }
  document.addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    addFiles([...event.clipboardData.files]);
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    find("ask").classList.add("drop");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) find("ask").classList.remove("drop");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    find("ask").classList.remove("drop");
    addFiles([...event.dataTransfer.files]);
  });
}
