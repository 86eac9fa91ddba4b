// Encoded files to raw RGB pixels, as ssv_tf.data.folder.read_picture reads them.

import {
  browserTurns, jpegSegments, kindOf, orientationOf, pngChunks, upright,
} from "./orientation.js";
import { blank } from "./resample.js";
import { Wording } from "./words.js";

const MID_GREY = "rgb(127, 127, 127)";
const MAX_PIXELS = 90_000_000;
const STRIP_PIXELS = 1 << 21; // phones refuse large canvases: the picture is read in strips
const DRAFT_SCALES = [8, 4, 2];
const DRAFT_STRETCH = 256; // as ssv_tf.data.reading has it
const END_OF_IMAGE = 0xd9;
const START_OF_SCAN = 0xda;
const NO_FRAMES = new Set([0xc4, 0xc8, 0xcc]); // markers between those of frames: tables

/**
 * Decodes a file.
 *
 * @param blob the file.
 * @param shortest JPEGs are averaged over blocks of 2, 4 or 8 pixels as long as both sides keep
 *   this many, which is what Pillow's decoder does for Python.
 * @returns {bitmap: ImageBitmap, upright; small: whether it is not of full size; picture: RGB
 *   picture}.
 * @throws Wording with the reason, where it is no usable picture.
 */
export async function readPicture(blob, shortest) {
  const bytes = new Uint8Array(await contentOf(blob));
  if (!bytes.length) throw new Wording("The file is empty.");
  const kind = kindOf(bytes);
  if ((kind === "jpeg" && !jpegIsWhole(bytes)) || (kind === "png" && !pngIsWhole(bytes))) {
    throw new Wording("The picture is cut short: part of the file is missing.");
  }
  const orientation = orientationOf(bytes, kind);
  const drafted = kind === "jpeg" ? await draft(bytes, shortest) : null;
  if (drafted) return drafted;
  const bitmap = await decode(blob);
  if (orientation > 1 && !(await browserTurns(kind))) return turned(bitmap, orientation);
  const scale = kind === "jpeg" ? draftScale(bitmap, shortest) : 1;
  return { bitmap, small: false, picture: rgbOf(bitmap, scale, orientation) };
}

/**
 * A large JPEG decoded at a half, a quarter or an eighth, which takes a third of the time and gives
 * the very pixels of Pillow's decoder; null where this browser has no such decoder.
 */
async function draft(bytes, shortest) {
  const size = jpegSize(bytes);
  if (!size || typeof ImageDecoder === "undefined" || !("rotation" in VideoFrame.prototype)) return null;
  checkPixels(size);
  const scale = draftScale(size, shortest);
  if (scale === 1) return null;
  const [desiredWidth, desiredHeight] = [size.width, size.height].map((length) => Math.ceil(length / scale));
  const frame = await decodedAt({ desiredWidth, desiredHeight }, bytes);
  if (!frame) return null;
  try {
    if (frame.codedWidth !== desiredWidth || frame.codedHeight !== desiredHeight) return null;
    const canvas = new OffscreenCanvas(frame.displayWidth, frame.displayHeight);
    const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    context.drawImage(frame, 0, 0); // turned as its EXIF says
    const bitmap = canvas.transferToImageBitmap();
    return { bitmap, small: true, picture: rgbOf(bitmap) };
  } finally {
    frame.close();
  }
}

/** The first frame of a JPEG, or null; a damaged one is left to the usual decoder. */
async function decodedAt(desired, bytes) {
  let decoder;
  try {
    decoder = new ImageDecoder({ data: bytes, type: "image/jpeg", colorSpaceConversion: "none", ...desired });
    return (await decoder.decode()).image;
  } catch {
    return null;
  } finally {
    decoder?.close();
  }
}

/** {width, height} as the file's header has them, before any turn; null where it says none. */
function jpegSize(bytes) {
  for (const { marker, start } of jpegSegments(bytes)) {
    if (marker < 0xc0 || marker > 0xcf || NO_FRAMES.has(marker) || start + 5 > bytes.length) continue;
    const [high, low, wide, narrow] = bytes.subarray(start + 1, start + 5);
    return { width: (wide << 8) | narrow, height: (high << 8) | low };
  }
  return null;
}

/** What `readPicture` returns, of a bitmap that the browser left as it lay in the file. */
async function turned(bitmap, orientation) {
  const picture = upright(rgbOf(bitmap), orientation);
  bitmap.close();
  const shown = new ImageData(picture.width, picture.height);
  for (let source = 0, target = 0; source < picture.data.length; target += 4) {
    shown.data[target] = picture.data[source++];
    shown.data[target + 1] = picture.data[source++];
    shown.data[target + 2] = picture.data[source++];
    shown.data[target + 3] = 255;
  }
  return { bitmap: await createImageBitmap(shown), small: false, picture };
}

async function contentOf(blob) {
  try {
    return await blob.arrayBuffer();
  } catch {
    throw new Wording("The file cannot be read; is it a folder, or was it moved?");
  }
}

/** A bitmap of full size; of a JPEG upright. */
export async function decode(blob) {
  let bitmap;
  try {
    // No colour management and no premultiplied alpha: the numbers in the file, as Pillow has them.
    bitmap = await createImageBitmap(blob, {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new Wording("This is not a picture the browser can read; try a JPEG, PNG or WebP file.");
  }
  checkPixels(bitmap);
  return bitmap;
}

function checkPixels({ width, height }) {
  if (width * height > MAX_PIXELS) {
    throw new Wording(`The picture is too large (${width} × ${height} pixels).`);
  }
}

/** RGB of a bitmap, transparent parts over mid-grey, averaged over blocks of scale x scale. */
export function rgbOf(bitmap, scale = 1, orientation = 1) {
  const blocks = new BlockAverage(bitmap.width, bitmap.height, scale, orientation);
  const rows = Math.max(1, Math.min(bitmap.height, Math.floor(STRIP_PIXELS / bitmap.width)));
  const canvas = new OffscreenCanvas(bitmap.width, rows);
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  for (let top = 0; top < bitmap.height; top += rows) {
    const height = Math.min(rows, bitmap.height - top);
    context.fillStyle = MID_GREY;
    context.fillRect(0, 0, bitmap.width, rows);
    context.drawImage(bitmap, 0, top, bitmap.width, height, 0, 0, bitmap.width, height);
    blocks.add(context.getImageData(0, 0, bitmap.width, height).data, top, height);
  }
  return blocks.picture;
}

function draftScale({ width, height }, shortest) {
  const fits = (scale) => [width, height].every((length) => {
    const surplus = Math.ceil(length / scale) * scale - length; // of a last pixel that is there in part
    return length >= scale * shortest && surplus * DRAFT_STRETCH <= length;
  });
  return DRAFT_SCALES.find(fits) ?? 1;
}

/** Averages over blocks, strip by strip; blocks at the end of the file's axes repeat the edge. */
class BlockAverage {
  constructor(width, height, scale, orientation) {
    // Blocks start where the file's pixels start, which a turned picture has at its other end.
    this.columns = blockPlaces(width, scale, [2, 3, 6, 7].includes(orientation));
    this.rows = blockPlaces(height, scale, [3, 4, 7, 8].includes(orientation));
    this.starts = blockStarts(this.columns.places);
    this.width = width;
    this.area = scale * scale;
    this.picture = blank(Math.ceil(width / scale), Math.ceil(height / scale));
    this.sums = scale === 1 ? null : new Uint32Array(this.picture.data.length);
    this.left = this.rows.weights.length;
  }

  add(rgba, top, height) {
    if (this.sums) this.accumulate(rgba, top, height);
    else this.copy(rgba, top);
  }

  copy(rgba, top) {
    const { data } = this.picture;
    for (let source = 0, target = top * this.width * 3; source < rgba.length; source += 4) {
      data[target++] = rgba[source];
      data[target++] = rgba[source + 1];
      data[target++] = rgba[source + 2];
    }
  }

  accumulate(rgba, top, height) {
    const { starts, columns, rows, sums } = this;
    let [source, red, green, blue] = [0, 0, 0, 0];
    for (let y = top; y < top + height; y++) {
      let target = rows.places[y] * (starts.length - 1) * 3;
      const weight = rows.weights[y];
      for (let block = 0; block < starts.length - 1; block++) {
        red = green = blue = 0;
        for (let x = starts[block]; x < starts[block + 1]; x++, source += 4) {
          const often = columns.weights[x];
          red += rgba[source] * often;
          green += rgba[source + 1] * often;
          blue += rgba[source + 2] * often;
        }
        sums[target++] += red * weight;
        sums[target++] += green * weight;
        sums[target++] += blue * weight;
      }
    }
    this.left -= height;
    if (this.left === 0) this.divide();
  }

  divide() {
    const { data } = this.picture;
    for (let i = 0; i < data.length; i++) {
      data[i] = Math.floor(this.sums[i] / this.area + 0.5);
    }
  }
}

/** For each pixel of an axis the block it falls into, and how often it counts there. */
function blockPlaces(length, scale, fromEnd) {
  const missing = (scale - (length % scale)) % scale;
  const offset = fromEnd ? missing : 0;
  const places = Uint32Array.from({ length }, (_, x) => Math.floor((x + offset) / scale));
  const weights = new Uint32Array(length).fill(1);
  weights[fromEnd ? 0 : length - 1] += missing;
  return { places, weights };
}

/** Where in `places` each block begins, and after the last one where they end. */
function blockStarts(places) {
  const starts = [];
  places.forEach((block, x) => block === starts.length && starts.push(x));
  return Uint32Array.from([...starts, places.length]);
}

/** Whether the chunks lead to the last one; bytes behind it are nobody's concern. */
function pngIsWhole(bytes) {
  for (const { name } of pngChunks(bytes)) if (name === "IEND") return true;
  return false;
}

/** Whether an end marker follows the first scan; browsers draw what there is of a cut file. */
function jpegIsWhole(bytes) {
  for (const { marker, start } of jpegSegments(bytes)) {
    if (marker !== START_OF_SCAN) continue;
    for (let i = bytes.length - 2; i > start; i--) {
      if (bytes[i] === 0xff && bytes[i + 1] === END_OF_IMAGE) return true;
    }
  }
  return false;
}
