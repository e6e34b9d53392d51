/** What the tests run on: a codec, its networks from a folder that `mrdcae export` wrote, and WebP. */

import { readdir, readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { loadCodec, Networks, Webp } from "../src/index.js";
import webpDecoder from "../vendor/jsquash-webp/webp_dec.js";
import webpEncoder from "../vendor/jsquash-webp/webp_enc.js";
import * as ort from "../vendor/onnxruntime/ort.wasm.bundle.min.mjs";

const near = (path) => readFile(new URL(path, import.meta.url));

export async function webp() {
  const load = async (module, name) =>
    module({ wasmBinary: await near(`../vendor/jsquash-webp/${name}.wasm`) });
  return new Webp(await load(webpEncoder, "webp_enc"), await load(webpDecoder, "webp_dec"));
}

export async function codecAndNetworks(folder) {
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
