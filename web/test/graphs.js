/** What the tests run on: a codec and its networks from a folder that `mrdcae export` wrote. */

import { readdir, readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { loadCodec, Networks } from "../src/index.js";
import * as ort from "../vendor/onnxruntime/ort.wasm.bundle.min.mjs";

export async function codecAndNetworks(folder) {
  const near = (path) => readFile(new URL(path, import.meta.url));
  const runtime = await near("../vendor/onnxruntime/ort-wasm-simd-threaded.wasm.gz");
  ort.env.wasm.wasmBinary = gunzipSync(runtime);
  ort.env.wasm.numThreads = 1;
  const graphs = {};
  for (const name of await readdir(folder)) {
    if (!name.endsWith(".onnx")) continue;
    graphs[name.replace(".onnx", "")] = new Uint8Array(await readFile(`${folder}/${name}`));
  }
  const context = new Uint8Array(await readFile(`${folder}/context.npz`));
  const codec = await loadCodec(context, await near("../src/kernel.wasm"));
  return { codec, networks: await Networks.load(ort, graphs) };
}
