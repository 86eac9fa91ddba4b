// Puts a picture into the square the network takes: the counterpart of ssv_tf.data.folder.

import { BOX, LANCZOS, blank, gaussianBlur, resize } from "./resample.js";

const MID_GREY = 127;
const WORKING_MULTIPLE = 4; // of the network's side: the square before it is resampled, at most
export const DECODED_MULTIPLE = 3; // sides of a picture decoded at a smaller size, at least

/**
 * @param picture RGB picture of any size.
 * @param settings {resolution, crop, canvas_heights, padding}, as the run was trained.
 * @returns RGB picture, resolution x resolution.
 */
export function fitSquare(picture, settings) {
  const { resolution, padding } = settings;
  const small = shrink(picture, squareSide(picture, settings), resolution);
  const side = squareSide(small, settings);
  const rows = Math.max(0, Math.ceil((side - small.height) / 2));
  const columns = Math.max(0, Math.ceil((side - small.width) / 2));
  const canvas = pad(small, rows, columns, padding);
  const [left, top] = [(canvas.width - side) / 2, (canvas.height - side) / 2];
  return resize(canvas, resolution, resolution, LANCZOS, [left, top, left + side, top + side]);
}

function squareSide({ width, height }, settings) {
  return settings.crop === "height" ? settings.canvas_heights * height : Math.max(width, height);
}

/** Area average of a picture whose square is far larger than the result. */
function shrink(picture, side, resolution) {
  const scale = (WORKING_MULTIPLE * resolution) / side;
  if (scale >= 1) return picture;
  const [width, height] = [picture.width, picture.height].map((length) =>
    Math.max(1, roundHalfEven(scale * length)),
  );
  return resize(picture, width, height, BOX);
}

/** Rounds as Python does: a half goes to the even number. */
function roundHalfEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

function pad(picture, rows, columns, padding) {
  const source = padding === "reflect" ? reflected : clamped;
  const padded = blank(picture.width + 2 * columns, picture.height + 2 * rows);
  if (padding === "constant") padded.data.fill(MID_GREY);
  for (let y = 0; y < padded.height; y++) {
    for (let x = 0; x < padded.width; x++) {
      if (padding === "constant" && !inside(picture, x - columns, y - rows)) continue;
      const fromX = source(x - columns, picture.width);
      const fromY = source(y - rows, picture.height);
      copyPixel(picture, fromX, fromY, padded, x, y);
    }
  }
  return padding === "blur" && (rows || columns) ? blurred(padded, picture, rows, columns) : padded;
}

function inside({ width, height }, x, y) {
  return x >= 0 && y >= 0 && x < width && y < height;
}

function clamped(place, length) {
  return Math.min(Math.max(place, 0), length - 1);
}

function reflected(place, length) {
  const period = Math.max(2 * (length - 1), 1);
  const turned = ((place % period) + period) % period;
  return Math.min(turned, period - turned, length - 1);
}

function copyPixel(from, fromX, fromY, to, x, y) {
  const source = (fromY * from.width + fromX) * 3;
  const target = (y * to.width + x) * 3;
  to.data[target] = from.data[source];
  to.data[target + 1] = from.data[source + 1];
  to.data[target + 2] = from.data[source + 2];
}

/** The border blurred, the picture itself left sharp. */
function blurred(padded, picture, rows, columns) {
  const result = gaussianBlur(padded, Math.max(padded.width, padded.height) / 16);
  for (let y = 0; y < picture.height; y++) {
    for (let x = 0; x < picture.width; x++) {
      copyPixel(picture, x, y, result, x + columns, y + rows);
    }
  }
  return result;
}
