// What the page shows: the picture with its axes, the angles, messages.

import { AXES, axesInImage, inDegrees, words } from "./viewpoint.js";

const ANGLES = ["azimuth", "elevation", "tilt"];
const SVG = "http://www.w3.org/2000/svg";
const LONGEST = 480; // of the drawing, in its own units, whatever the picture's size
const AXIS_LENGTH = 0.36; // in shortest sides of the picture
const SURE = 0.8;
const UNSURE = 0.5;
const LIKE = 1; // novelty above which a picture looks like something else

export const byId = (id) => document.getElementById(id);

export function showProgress(text) {
  byId("progress").textContent = text;
}

/** A message in words; null takes it away. */
export function showError(text) {
  const box = byId("error");
  box.textContent = text ?? "";
  box.hidden = !text;
  byId("empty").classList.toggle("failed", Boolean(text));
}

export function showDoubt(text) {
  byId("doubt").textContent = text;
  byId("doubt").hidden = !text;
}

/** What the model cannot do, as its card says. */
export function showLimits(limits) {
  const items = limits.map((limit) => {
    const item = document.createElement("li");
    item.textContent = limit;
    return item;
  });
  byId("limit-list").replaceChildren(...items);
  byId("limits").hidden = !items.length;
}

/** Draws an answer of the worker; `title` names the picture, `live` is one of many frames. */
export function showAnswer(answer, title, resolution, live) {
  showPicture(answer, title);
  byId("angles").dataset.empty = "false";
  byId("angles").dataset.answer = answer.id;
  const meanings = words(answer.degrees);
  ANGLES.forEach((name, i) => showAngle(name, answer.degrees[i], meanings[i]));
  showConfidence(answer);
  showSquare(answer.square, resolution);
  showTime(answer.milliseconds);
  if (live) return;
  byId("spoken").textContent = spoken(title, answer, meanings);
  byId("screen").scrollIntoView({ block: "nearest" }); // a phone's samples lie a page below
}

/** The same picture as is shown, with more pixels. */
export function showSharper(shown) {
  const canvas = byId("picture");
  canvas.width = shown.width;
  canvas.height = shown.height;
  canvas.getContext("2d").drawImage(shown, 0, 0);
}

function showPicture({ shown, degrees }, title) {
  const canvas = byId("picture");
  showSharper(shown);
  canvas.setAttribute("aria-label", title);
  canvas.hidden = false;
  byId("empty").hidden = true;
  drawAxes(shown, axesInImage(degrees));
  shown.close();
}

function drawAxes({ width, height }, directions) {
  const scale = LONGEST / Math.max(width, height);
  const [drawnWidth, drawnHeight] = [width * scale, height * scale];
  const svg = byId("axes");
  svg.setAttribute("viewBox", `0 0 ${drawnWidth} ${drawnHeight}`);
  const length = AXIS_LENGTH * Math.max(Math.min(drawnWidth, drawnHeight), LONGEST / 3);
  const axes = directions.map(([x, y, z], i) => ({
    name: AXES[i].name,
    x: drawnWidth / 2 + length * x,
    y: drawnHeight / 2 - length * y, // rows of a picture grow downwards
    depth: z,
  }));
  const centre = { x: drawnWidth / 2, y: drawnHeight / 2 };
  const drawn = axes.toSorted((a, b) => a.depth - b.depth).map((axis) => axisLine(axis, centre));
  svg.replaceChildren(...drawn, ...axes.map((axis) => axisName(axis, centre)));
}

function axisLine({ name, x, y, depth }, centre) {
  const line = { x1: centre.x, y1: centre.y, x2: x, y2: y };
  return element("g", { class: `axis ${name} ${depth >= 0 ? "towards" : "away"}` }, [
    element("line", { ...line, class: "rim" }),
    element("line", { ...line, class: "bar" }),
    element("circle", { cx: x, cy: y, r: 8 }),
  ]);
}

/** The name beyond the axis' end, so that it does not lie on the line. */
function axisName({ name, x, y }, centre) {
  const below = y > centre.y + 4;
  const at = { x, y: y + (below ? 27 : -14), class: `axis-name ${name}` };
  const text = element("text", at);
  text.textContent = name;
  return text;
}

function element(name, attributes, children = []) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function showAngle(name, degrees, meaning) {
  const card = byId(name);
  card.querySelector(".degrees").textContent = inDegrees(degrees);
  card.dataset.degrees = degrees.toFixed(3);
  card.querySelector(".words").textContent = meaning;
  const turn = name === "elevation" ? -degrees : degrees; // dials: clockwise, as the page draws
  const pivot = name === "elevation" ? " -26 0" : "";
  card.querySelector(".hand").setAttribute("transform", `rotate(${turn}${pivot})`);
}

function showConfidence({ confidence, novelty }) {
  byId("confidence").hidden = confidence === null;
  if (confidence === null) return;
  byId("confidence-bar").value = confidence;
  byId("confidence").dataset.confidence = confidence.toFixed(4);
  byId("confidence").dataset.novelty = novelty?.toFixed(3) ?? "";
  byId("confidence-words").textContent = confidenceWords(confidence, novelty);
}

function confidenceWords(confidence, novelty) {
  if (novelty > LIKE) return "this does not look like such an object: do not rely on it";
  const percent = `${Math.round(100 * confidence)} %`;
  if (confidence >= SURE) return `${percent}, sure`;
  return confidence >= UNSURE ? `${percent}, fairly sure` : `${percent}, unsure: do not rely on it`;
}

function showSquare(rgb, resolution) {
  const canvas = byId("square");
  canvas.width = canvas.height = resolution;
  const context = canvas.getContext("2d");
  const image = context.createImageData(resolution, resolution);
  for (let from = 0, to = 0; from < rgb.length; to += 4) {
    image.data[to] = rgb[from++];
    image.data[to + 1] = rgb[from++];
    image.data[to + 2] = rgb[from++];
    image.data[to + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  byId("seen").hidden = false;
  byId("square-words").textContent = `${resolution} × ${resolution} pixels`;
}

function showTime({ all, run }) {
  byId("time").dataset.milliseconds = all.toFixed(2);
  byId("time").textContent = `${short(all)} ms, of it the network ${short(run)} ms`;
}

const short = (milliseconds) => (milliseconds < 10 ? milliseconds.toFixed(1) : milliseconds.toFixed(0));

function spoken(title, { degrees, confidence, novelty }, meanings) {
  const parts = ANGLES.map((name, i) => `${name} ${Math.round(degrees[i])} degrees, ${meanings[i]}`);
  if (confidence !== null) parts.push(`confidence ${confidenceWords(confidence, novelty)}`);
  return `${title}: ${parts.join("; ")}.`;
}

/** A button for each sample; `pick` gets the sample and its button. */
export function showSamples(samples, pick) {
  byId("samples").hidden = samples.length === 0;
  byId("sample-list").replaceChildren(
    ...samples.map((sample) => {
      const button = document.createElement("button");
      button.type = "button";
      const image = document.createElement("img");
      Object.assign(image, { src: sample.file, alt: sample.title, width: 96, height: 96 });
      button.append(image);
      button.addEventListener("click", () => pick(sample, button));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
}

/** Marks the sample that is shown; null where none of them is. */
export function markSample(chosen) {
  for (const button of byId("sample-list").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button === chosen));
  }
}
