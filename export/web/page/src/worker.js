// Everything that takes time, away from the page: decoding, fitting, the network.

import { fitSquare, DECODED_MULTIPLE } from "./fit.js";
import { ViewpointModel, startRuntime } from "./model.js";
import { decode, readPicture, rgbOf } from "./pixels.js";
import { Wording } from "./words.js";

const SHOWN_PIXELS = 1280; // longest side of what goes back to be shown

let model = null;
let settings = null;

self.onmessage = async ({ data }) => {
  try {
    if (data.kind === "start") await start(data.settings);
    else await answer(data);
  } catch (error) {
    if (!(error instanceof Wording)) console.error(error);
    const text = error instanceof Wording ? error.message : "Something went wrong; try again.";
    self.postMessage({ kind: data.kind === "start" ? "failed" : "bad", id: data.id, text });
  }
};

async function start(given) {
  settings = given;
  await startRuntime();
  model = await ViewpointModel.load(settings.model, settings.resolution);
  const grey = await createImageBitmap(new ImageData(384, 256));
  await model.predict(fitSquare(rgbOf(grey), settings)); // the first time is the slowest
  self.postMessage({ kind: "ready" });
}

async function answer({ id, blob, bitmap: frame }) {
  const begun = performance.now();
  const { bitmap, small, picture } = frame
    ? { bitmap: frame, small: false, picture: rgbOf(frame) }
    : await readPicture(blob, DECODED_MULTIPLE * settings.resolution);
  const decoded = performance.now();
  const square = fitSquare(picture, settings);
  const fitted = performance.now();
  const { degrees, confidence, novelty } = await model.predict(square);
  const done = performance.now();
  const milliseconds = { all: done - begun, read: decoded - begun, fit: fitted - decoded, run: done - fitted };
  const shown = await forShow(bitmap);
  const told = { degrees, confidence, novelty, milliseconds };
  const message = { kind: "answer", id, ...told, shown, square: square.data };
  self.postMessage(message, [shown, square.data.buffer]);
  if (small) await showSharper(id, blob);
}

/** The answer came from a smaller decoding: sends what the screen can show after it. */
async function showSharper(id, blob) {
  try {
    const shown = await forShow(await decode(blob));
    self.postMessage({ kind: "sharper", id, shown }, [shown]);
  } catch (error) {
    console.warn(error); // the small one stays
  }
}

async function forShow(bitmap) {
  const scale = Math.min(1, SHOWN_PIXELS / Math.max(bitmap.width, bitmap.height));
  if (scale === 1) return bitmap;
  const [resizeWidth, resizeHeight] = [bitmap.width, bitmap.height].map((length) =>
    Math.max(1, Math.round(scale * length)),
  );
  const shown = await createImageBitmap(bitmap, { resizeWidth, resizeHeight, resizeQuality: "medium" });
  bitmap.close();
  return shown;
}
