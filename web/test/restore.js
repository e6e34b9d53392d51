/**
 * node restore.js GRAPHS FILE.mrdc OUT [FILE.mrdc OUT ...]
 *
 * Writes the pixels of each file, four bytes each, to OUT; GRAPHS is a folder that `mrdcae export`
 * wrote. Prints the seconds that each took.
 */

import { readFile, writeFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { decode, loadCodec, Networks, restore } from "../src/index.js";
import * as ort from "../vendor/onnxruntime/ort.wasm.bundle.min.mjs";

const [folder, ...paths] = process.argv.slice(2);
const near = (path) => readFile(new URL(path, import.meta.url));
ort.env.wasm.wasmBinary = gunzipSync(
  await near("../vendor/onnxruntime/ort-wasm-simd-threaded.wasm.gz"),
);
ort.env.wasm.numThreads = 1;
const graphs = {};
for (const name of ["analysis", "synthesis", "filter"]) {
  graphs[name] = new Uint8Array(await readFile(`${folder}/${name}.onnx`));
}
const networks = await Networks.load(ort, graphs);
const context = new Uint8Array(await readFile(`${folder}/context.npz`));
const codec = await loadCodec(context, await near("../src/kernel.wasm"));
for (let number = 0; number < paths.length; number += 2) {
  const bytes = new Uint8Array(await readFile(paths[number]));
  const started = performance.now();
  const found = await decode(codec, bytes);
  const symbols = performance.now();
  const shares = [];
  const pixels = await restore(codec, networks, found, { progress: (share) => shares.push(share) });
  await writeFile(paths[number + 1], pixels);
  const [read, all] = [symbols - started, performance.now() - started].map((ms) => ms / 1000);
  console.log(JSON.stringify({ read, all, shares }));
}
