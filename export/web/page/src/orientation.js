// How a file says its picture is to be turned, and whether this browser turns it by itself.

import { blank } from "./resample.js";

const START_OF_SCAN = 0xda;
const APP1 = 0xe1;
// Two pixels beside each other, to be turned by a quarter: one above the other where it is done.
const PROBES = {
  png:
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAGmVYSWZNTQAqAAAACAABARIAAwAAAAEABgAAAAAAANZnS2" +
    "kAAAAPSURBVHicY2BgYGBgYAAAAAcAAVchYhkAAAAASUVORK5CYII=",
  webp:
    "UklGRk4AAABXRUJQVlA4WAoAAAAIAAAAAQAAAAAAVlA4TA4AAAAvAQAAAAcQEf0PRET/A0VYSUYaAAAATU0AKgAAAAgAAQ" +
    "ESAAMAAAABAAYAAAAAAAA=",
};
const probed = {};

/** "jpeg", "png", "webp" by the first bytes; "" for others. */
export function kindOf(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return "jpeg";
  if (textAt(bytes, 1, 3) === "PNG") return "png";
  return textAt(bytes, 0, 4) === "RIFF" && textAt(bytes, 8, 4) === "WEBP" ? "webp" : "";
}

/** EXIF orientation 1 to 8; 1 where there is none. */
export function orientationOf(bytes, kind) {
  const exif = { jpeg: exifOfJpeg, png: exifOfPng, webp: exifOfWebp }[kind]?.(bytes);
  if (!exif) return 1;
  const start = exif.byteOffset + (textAt(exif, 0, 4) === "Exif" ? 6 : 0);
  const length = exif.byteOffset + exif.byteLength - start;
  const found = length > 0 ? tiffOrientation(new DataView(exif.buffer, start, length)) : 1;
  return found >= 1 && found <= 8 ? found : 1;
}

/** Whether createImageBitmap turns pictures of a kind; browsers agree on JPEG only. */
export function browserTurns(kind) {
  if (kind === "jpeg" || !PROBES[kind]) return Promise.resolve(true);
  probed[kind] ??= probe(kind);
  return probed[kind];
}

async function probe(kind) {
  const bytes = Uint8Array.from(atob(PROBES[kind]), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: `image/${kind}` }));
  return bitmap.height === 2;
}

/** An RGB picture turned as its orientation says. */
export function upright(picture, orientation) {
  const { width, height, data } = picture;
  const swapped = orientation >= 5;
  const result = blank(swapped ? height : width, swapped ? width : height);
  const fromRight = [2, 3, 7, 8].includes(orientation);
  const fromBelow = [3, 4, 6, 7].includes(orientation);
  let target = 0;
  for (let row = 0; row < result.height; row++) {
    for (let column = 0; column < result.width; column++) {
      const [across, down] = swapped ? [row, column] : [column, row];
      const x = fromRight ? width - 1 - across : across;
      const y = fromBelow ? height - 1 - down : down;
      const source = (y * width + x) * 3;
      result.data[target++] = data[source];
      result.data[target++] = data[source + 1];
      result.data[target++] = data[source + 2];
    }
  }
  return result;
}

/** The header's segments {marker, start, end} up to the first scan, that one included. */
export function* jpegSegments(bytes) {
  let place = 2;
  while (place + 4 <= bytes.length && bytes[place] === 0xff) {
    const marker = bytes[place + 1];
    if (marker === 0xff) {
      place += 1; // fill byte
      continue;
    }
    const end = place + 2 + ((bytes[place + 2] << 8) | bytes[place + 3]);
    yield { marker, start: place + 4, end };
    if (marker === START_OF_SCAN) return;
    place = end;
  }
}

/** The chunks {name, start, end} of a PNG that are wholly there, up to its end. */
export function* pngChunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let place = 8; place + 12 <= bytes.length; ) {
    const start = place + 8;
    const end = start + view.getUint32(place);
    if (end + 4 > bytes.length) return;
    const name = textAt(bytes, place + 4, 4);
    yield { name, start, end };
    if (name === "IEND") return;
    place = end + 4;
  }
}

function exifOfJpeg(bytes) {
  for (const { marker, start, end } of jpegSegments(bytes)) {
    if (marker !== APP1 || textAt(bytes, start, 4) !== "Exif" || end > bytes.length) continue;
    return bytes.subarray(start, end);
  }
  return null;
}

function exifOfPng(bytes) {
  for (const { name, start, end } of pngChunks(bytes)) {
    if (name === "eXIf") return bytes.subarray(start, end);
  }
  return null;
}

function exifOfWebp(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let place = 12; place + 8 <= bytes.length; ) {
    const end = place + 8 + view.getUint32(place + 4, true);
    if (textAt(bytes, place, 4) === "EXIF") {
      return bytes.subarray(place + 8, Math.min(end, bytes.length));
    }
    place = end + (end % 2); // chunks begin at even places
  }
  return null;
}

function tiffOrientation(view) {
  if (view.byteLength < 14) return 1;
  const little = view.getUint16(0) === 0x4949;
  const directory = view.getUint32(4, little);
  if (directory + 2 > view.byteLength) return 1;
  const entries = view.getUint16(directory, little);
  for (let i = 0; i < entries; i++) {
    const entry = directory + 2 + 12 * i;
    if (entry + 12 > view.byteLength) return 1;
    if (view.getUint16(entry, little) === 0x0112) return view.getUint16(entry + 8, little);
  }
  return 1;
}

function textAt(bytes, start, length) {
  return String.fromCharCode(...bytes.subarray(start, start + length));
}
