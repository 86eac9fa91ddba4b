// LiteRT in the page's worker, and the exported model: square picture in, degrees out.

import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";
import { HOW_TO_WRITE, Wording } from "./words.js";

const INPUT = "picture";
const OUTPUT = "viewpoint_deg";
const CONFIDENCE = "confidence";
const NOVELTY = "novelty";
const GZIP = [0x1f, 0x8b];

/** Starts LiteRT from the files beside the page. */
export async function startRuntime() {
  // Its own attempt to open a GPU would cost a phone time and battery for a net of milliseconds.
  Object.defineProperty(navigator, "gpu", { value: undefined, configurable: true });
  const silenced = console.warn;
  console.warn = () => {};
  try {
    const wasmBinary = await inflated(await fetched("litert.wasm.gz"));
    self.Module = { wasmBinary, printErr: (line) => /^ERROR/.test(line) && console.error(line) };
    await loadLiteRt(new URL("litert.js", self.location.href).href);
  } catch (error) {
    if (error instanceof Wording) throw error;
    throw new Wording(`This browser cannot start the model's engine (${error.message ?? error}).`);
  } finally {
    console.warn = silenced;
  }
}

/** Bytes of a file beside the page. */
export async function fetched(name) {
  let response;
  try {
    response = await fetch(new URL(name, self.location.href), { cache: "no-cache" });
  } catch {
    throw new Wording(`${name} cannot be loaded: the server does not answer. Try again.`);
  }
  if (!response.ok) {
    throw new Wording(`${name} is missing on this server (${response.status}). ${HOW_TO_WRITE}`);
  }
  return new Uint8Array(await response.arrayBuffer());
}

/** Some servers unpack .gz files on the way, so what came is looked at first. */
async function inflated(bytes) {
  if (bytes[0] !== GZIP[0] || bytes[1] !== GZIP[1]) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The exported model, checked: what it takes and gives must be what this page knows. */
export class ViewpointModel {
  static async load(name, resolution) {
    const bytes = await fetched(name);
    if (String.fromCharCode(...bytes.subarray(4, 8)) !== "TFL3") {
      throw new Wording(`${name} is not a TFLite model. ${HOW_TO_WRITE}`);
    }
    let compiled;
    try {
      compiled = await loadAndCompile(bytes, { accelerator: "wasm" });
    } catch (error) {
      throw new Wording(`${name} cannot be run: it is damaged, or too new for this page.`);
    }
    return new ViewpointModel(compiled, name, resolution);
  }

  constructor(compiled, name, resolution) {
    this.compiled = compiled;
    const [input, ...others] = compiled.getInputDetails();
    const outputs = compiled.getOutputDetails().map((output) => output.name);
    const foreign = others.length > 0 || input?.name !== INPUT || !outputs.includes(OUTPUT);
    if (foreign) {
      throw new Wording(
        `${name} is a model of something else: it must take “${INPUT}” and answer “${OUTPUT}”.`,
      );
    }
    this.shape = [...input.shape];
    this.array = input.dtype === "float32" ? Float32Array : Uint8Array;
    if (this.shape.join() !== [1, resolution, resolution, 3].join()) {
      throw new Wording(
        `${name} takes pictures of ${this.shape.join(" × ")}, the page was written for ` +
          `1 × ${resolution} × ${resolution} × 3. ${HOW_TO_WRITE}`,
      );
    }
  }

  /**
   * @param square RGB picture of the model's size.
   * @returns {degrees: [azimuth, elevation, tilt], confidence: 0..1 or null,
   *   novelty: above 1 where it looks like something else, or null}.
   */
  async predict(square) {
    const picture = new Tensor(this.array.from(square.data), this.shape);
    try {
      const answers = await this.compiled.run({ [INPUT]: picture });
      const degrees = [...take(answers[OUTPUT])];
      const [confidence, novelty] = [CONFIDENCE, NOVELTY].map((name) =>
        answers[name] ? take(answers[name])[0] : null,
      );
      return { degrees, confidence, novelty };
    } finally {
      picture.delete();
    }
  }
}

/** Numbers of a tensor, whose memory is given back. */
function take(tensor) {
  const values = tensor.toTypedArray();
  tensor.delete();
  return values;
}
