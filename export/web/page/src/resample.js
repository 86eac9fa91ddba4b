// Pillow's resampling and blur on raw pixels, level for level. Browsers scale with filters of their
// own choice, and a network of 32 px feels the difference in degrees.
//
// A picture is {data: Uint8ClampedArray [height * width * 3], width, height}, RGB.

const CHANNELS = 3;
// Pillow keeps its weights as whole numbers of 1 / 2^22.
const WEIGHT_BITS = 22;
const HALF = 1 << (WEIGHT_BITS - 1);
const BLUR_PASSES = 3;

export const BOX = { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };
export const LANCZOS = {
  support: 3,
  weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0),
};

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

export function blank(width, height) {
  return { data: new Uint8ClampedArray(width * height * CHANNELS), width, height };
}

/**
 * Scales the part `box` of a picture along one axis, rounds, then along the other, as Pillow does.
 *
 * @param picture RGB picture.
 * @param width, height of the result.
 * @param filter BOX or LANCZOS.
 * @param box [left, top, right, bottom], fractions of a pixel allowed; all of it by default.
 */
export function resize(picture, width, height, filter, box = [0, 0, picture.width, picture.height]) {
  const [left, top, right, bottom] = box.map(Math.fround); // Pillow's box is of single precision
  const across = weightsOf(picture.width, left, right, width, filter);
  const down = weightsOf(picture.height, top, bottom, height, filter);
  return downFirst(picture, width, height)
    ? resizeAcross(resizeDown(picture, down), across)
    : resizeDown(resizeAcross(picture, across), down);
}

/** Whether Pillow 13 scales down before across; found by asking it, and a test asks it again. */
function downFirst(picture, width, height) {
  return height < picture.height && picture.height - height > 2 * (picture.width - width);
}

/** For each new pixel the first old one and the weights of the old ones from there on. */
function weightsOf(length, start, end, newLength, filter) {
  const scale = Math.fround(end - start) / newLength;
  const stretch = Math.max(scale, 1);
  const shrinkage = 1 / stretch; // multiplied, not divided by: a box's edge may fall on a pixel
  const support = filter.support * stretch;
  return Array.from({ length: newLength }, (_, place) => {
    const centre = start + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(length, Math.trunc(centre + support + 0.5));
    const weights = [];
    for (let x = first; x < last; x++) {
      weights.push(filter.weight((x - centre + 0.5) * shrinkage));
    }
    const share = 1 / weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: Int32Array.from(weights, (weight) => wholeWeight(weight * share)) };
  });
}

function wholeWeight(weight) {
  return Math.trunc(weight * (1 << WEIGHT_BITS) + (weight < 0 ? -0.5 : 0.5));
}

function resizeAcross(picture, weightsOfColumns) {
  const result = blank(weightsOfColumns.length, picture.height);
  const [from, to] = [picture.data, result.data];
  let place = 0;
  for (let y = 0; y < picture.height; y++) {
    const row = y * picture.width;
    for (const { first, weights } of weightsOfColumns) {
      let [red, green, blue] = [HALF, HALF, HALF];
      let source = (row + first) * CHANNELS;
      for (let i = 0; i < weights.length; i++) {
        const weight = weights[i];
        red += from[source++] * weight;
        green += from[source++] * weight;
        blue += from[source++] * weight;
      }
      to[place++] = red >> WEIGHT_BITS; // a clamped array also clips, as Pillow does
      to[place++] = green >> WEIGHT_BITS;
      to[place++] = blue >> WEIGHT_BITS;
    }
  }
  return result;
}

function resizeDown(picture, weightsOfRows) {
  const result = blank(picture.width, weightsOfRows.length);
  const [from, to] = [picture.data, result.data];
  const rowLength = picture.width * CHANNELS;
  let place = 0;
  for (const { first, weights } of weightsOfRows) {
    for (let x = 0; x < rowLength; x++) {
      let sum = HALF;
      let source = first * rowLength + x;
      for (let i = 0; i < weights.length; i++, source += rowLength) {
        sum += from[source] * weights[i];
      }
      to[place++] = sum >> WEIGHT_BITS;
    }
  }
  return result;
}

/** Pillow's GaussianBlur: three box blurs a direction, whose ends count in part. */
export function gaussianBlur(picture, radius) {
  const half = Math.fround(boxHalfWidth(Math.fround(radius)));
  let blurred = picture;
  for (let pass = 0; pass < BLUR_PASSES; pass++) {
    blurred = boxBlur(blurred, half, picture.height, picture.width * CHANNELS, CHANNELS);
  }
  for (let pass = 0; pass < BLUR_PASSES; pass++) {
    blurred = boxBlur(blurred, half, picture.width, CHANNELS, picture.width * CHANNELS);
  }
  return blurred;
}

/** Half width of the box whose three passes have a Gaussian's variance (Gwosdek et al. 2011). */
function boxHalfWidth(radius) {
  const variance = (radius * radius) / BLUR_PASSES;
  const whole = Math.floor((Math.sqrt(12 * variance + 1) - 1) / 2);
  const part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
  return whole + part / (6 * (variance - (whole + 1) * (whole + 1)));
}

/** One pass along one direction: `lines` lines that lie `lineStep` apart, their pixels `step`. */
function boxBlur(picture, half, lines, lineStep, step) {
  const result = blank(picture.width, picture.height);
  const [from, to] = [picture.data, result.data];
  const length = from.length / CHANNELS / lines;
  const radius = Math.trunc(half);
  const inner = Math.trunc(2 ** 24 / (half * 2 + 1));
  const outer = Math.trunc((2 ** 24 - (radius * 2 + 1) * inner) / 2);
  for (let line = 0; line < lines; line++) {
    for (let channel = 0; channel < CHANNELS; channel++) {
      const start = line * lineStep + channel;
      const at = (x) => from[start + Math.min(Math.max(x, 0), length - 1) * step];
      let sum = 0;
      for (let x = -radius; x <= radius; x++) sum += at(x);
      for (let x = 0; x < length; x++) {
        const ends = at(x - radius - 1) + at(x + radius + 1);
        to[start + x * step] = Math.floor((sum * inner + ends * outer + 2 ** 23) / 2 ** 24);
        sum += at(x + radius + 1) - at(x - radius);
      }
    }
  }
  return result;
}
