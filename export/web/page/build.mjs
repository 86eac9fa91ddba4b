// Builds the page into the folder named on the command line (see ../build.py, which calls this).

import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { constants, gzipSync } from "node:zlib";

import * as esbuild from "esbuild";

// LiteRT's build with plain SIMD and one thread: it runs in every browser since 2023, wants no
// COOP or COEP headers of the host, and gives the same degrees on every processor.
const ENGINE = "node_modules/@litertjs/core/wasm/litert_wasm_compat_internal";
const TARGET = ["chrome111", "firefox115", "safari16.4"];

const out = process.argv[2];
if (!out) throw new Error("usage: node build.mjs FOLDER");
await mkdir(out, { recursive: true });

await esbuild.build({
  entryPoints: { app: "src/main.js", worker: "src/worker.js", style: "style.css" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "iife", // workers of older browsers take no modules
  target: TARGET,
  legalComments: "none",
  logLevel: "warning",
});

const engine = await readFile(`${ENGINE}.js`, "utf8");
const { code } = await esbuild.transform(engine, { minify: true, target: TARGET });
await writeFile(join(out, "litert.js"), code);

const wasm = await readFile(`${ENGINE}.wasm`);
await writeFile(join(out, "litert.wasm.gz"), gzipSync(wasm, { level: constants.Z_BEST_COMPRESSION }));

for (const name of ["index.html", "icon.svg", "licenses.txt"]) {
  await copyFile(name, join(out, name));
}
console.log(`litert.wasm sha256 ${createHash("sha256").update(wasm).digest("hex")}`);
