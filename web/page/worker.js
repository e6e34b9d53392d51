/**
 * The codec beside the page, so that the page never freezes: one task at a time, by messages.
 *
 * A message {id, task, ...} is answered by any number of {id, step, share} while it runs, and one
 * {id, result} or {id, error} at the end. Whoever wants to stop it ends the worker.
 */

import { compress, decode, loadCodec, Networks, RefusedError, restore, Webp } from "../src/index.js";
import * as ort from "../vendor/onnxruntime/ort.wasm.bundle.min.mjs";
import webpDecoder from "../vendor/jsquash-webp/webp_dec.js";
import webpEncoder from "../vendor/jsquash-webp/webp_enc.js";
import { psnr, ssim } from "./measures.js";
import { avifOf, jpegOf, webpOf } from "./rivals.js";

const MOST_PIXELS = 12_000_000;
const MAGIC = [0x89, 0x4d, 0x52, 0x44];
const RUNTIME = "../vendor/onnxruntime/ort-wasm-simd-threaded.wasm.gz";

let engine = null; // a promise of codec, networks and WebP
let original = null; // the picture, {width, height, data}
let file = null; // the bytes of its file

const TASKS = { open, resume, compress: compressed, fit, rival, level };

self.onmessage = async ({ data: { id, task, ...what } }) => {
  const say = (step) => (share) => self.postMessage({ id, step, share });
  try {
    const result = await TASKS[task](what, say);
    self.postMessage({ id, result });
  } catch (error) {
    const refused = error instanceof RefusedError;
    self.postMessage({ id, error: refused ? `The file was refused: ${error.message}.` : error.message });
  }
};

// --- the tasks

/** Read a file of any kind: its picture, or what `shown` gives for a .mrdc file. */
async function open({ blob }, say) {
  const start = new Uint8Array(await blob.slice(0, 4).arrayBuffer());
  if (MAGIC.every((byte, at) => start[at] === byte)) {
    original = null;
    file = new Uint8Array(await blob.arrayBuffer());
    return { file, ...(await shown(3, say)) };
  }
  const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" }).catch(() => {
    const what = blob.size ? "a file that is neither" : "an empty file";
    throw new Error(
      `Expected a picture that this browser can read, or a .mrdc file. Received: ${what}.`,
    );
  });
  const { width, height } = bitmap;
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (width * height)));
  const [columns, rows] = [width, height].map((side) => Math.max(1, Math.floor(side * scale)));
  original = drawn(bitmap, columns, rows);
  return { picture: original, scaledFrom: scale < 1 ? [width, height] : null };
}

/** Take over what a worker had that was stopped. */
function resume(what) {
  ({ original = null, file = null } = what);
}

/** Compress the picture at a quality, and show what comes back. */
async function compressed({ quality }, say) {
  const { codec, networks, webp } = await ready(say);
  const started = performance.now();
  const options = { webp, progress: say("Encoding") };
  file = await compress(codec, networks, original, quality, options);
  const encoding = (performance.now() - started) / 1000;
  return { file, encoding, ...(await shown(3, say)) };
}

/** Compress the picture into the largest file of at most so many bytes. */
async function fit({ bytes }, say) {
  const { codec, networks, webp } = await ready(say);
  let [low, high, best] = [0, 100, null];
  const rounds = 7;
  for (let round = 0; low <= high; round++) {
    const quality = Math.floor((low + high) / 2);
    const progress = (share) => say("Looking for the quality")((round + share) / rounds);
    const data = await compress(codec, networks, original, quality, { webp, progress });
    if (data.length <= bytes) [best, low] = [data, quality + 1];
    else high = quality - 1;
    if (!best && low > high) {
      throw new Error(`Out of reach: the smallest file of this picture has ${data.length} bytes.`);
    }
  }
  file = best;
  return { file, ...(await shown(3, say)) };
}

/** The file up to a level. */
function level({ level }, say) {
  return shown(level, say);
}

/** Another codec's file of the same size; colours only, as the transparency is kept without loss. */
async function rival({ format, bytes }, say) {
  const { webp } = await ready(say);
  const opaque = { ...original, data: original.data.map((v, at) => (at % 4 < 3 ? v : 255)) };
  const progress = say(`Encoding as ${format}`);
  let found, restored;
  if (format === "WebP") {
    found = await webpOf(webp, opaque, bytes, progress);
    restored = webp.decoder.decode(found.bytes);
  } else {
    found = await (format === "JPEG"
      ? jpegOf(await jpegEncoder(), opaque, bytes, progress)
      : avifOf(canvasOf(opaque), bytes, progress));
    const bitmap = await createImageBitmap(new Blob([found.bytes]));
    restored = drawn(bitmap, opaque.width, opaque.height);
  }
  return { bytes: found.bytes.length, data: restored.data, ...measured(restored) };
}

// --- what they are made of

/** The file decoded up to a level: pixels, routing, sizes and, beside a picture, PSNR and SSIM. */
async function shown(last, say) {
  const { codec, networks, webp } = await ready(say);
  const started = performance.now();
  const found = await decode(codec, file, { level: last });
  if (found.width * found.height > MOST_PIXELS) {
    throw new Error(`Expected at most 12 megapixels. Received: ${found.width} x ${found.height}.`);
  }
  const options = { webp, progress: say("Decoding") };
  const data = await restore(codec, networks, found, options);
  const decoding = (performance.now() - started) / 1000;
  const { width, height, quality, routing, patches, sizes, metadata } = found;
  const stored = found.tiles.filter((tile) => tile.stored).length;
  const facts = { width, height, quality, routing, patches, sizes, decoding, level: last };
  const beside = { stored, profile: Boolean(metadata.icc), kept: found.sections[0].length };
  return { ...facts, ...beside, data, ...(original && measured({ width, height, data })) };
}

const measured = (restored) => ({ psnr: psnr(original, restored), ssim: ssim(original, restored) });

function canvasOf({ width, height, data }) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  return canvas;
}

/** A bitmap as a picture of so many columns and rows. */
function drawn(bitmap, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return { width, height, data: context.getImageData(0, 0, width, height).data };
}

// --- loading

function ready(say) {
  engine ??= load(say("Loading the codec")).catch((error) => {
    engine = null;
    throw error;
  });
  return engine;
}

async function load(progress) {
  const list = JSON.parse(new TextDecoder().decode(await bytesOf("../graphs/graphs.json")));
  const names = list.map((name) => `../graphs/${name}`);
  const vendored = ["enc", "dec"].map((name) => `../vendor/jsquash-webp/webp_${name}.wasm`);
  const all = [RUNTIME, "../graphs/context.npz", "../src/kernel.wasm", ...vendored, ...names];
  let done = 0;
  const fetched = await Promise.all(
    all.map(async (name) => {
      const bytes = await bytesOf(name);
      progress(++done / (all.length + 1));
      return bytes;
    }),
  );
  const [runtime, context, kernel, encoder, decoder, ...graphs] = fetched;
  ort.env.wasm.wasmBinary = await unzipped(runtime);
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  const codec = await loadCodec(context, kernel);
  const named = Object.fromEntries(list.map((name, at) => [name.replace(".onnx", ""), graphs[at]]));
  const networks = await Networks.load(ort, named);
  const webp = new Webp(
    await webpEncoder({ wasmBinary: encoder }),
    await webpDecoder({ wasmBinary: decoder }),
  );
  progress(1);
  return { codec, networks, webp };
}

let jpeg = null;

async function jpegEncoder() {
  const { default: module } = await import("../vendor/jsquash-jpeg/mozjpeg_enc.js");
  jpeg ??= await module({ wasmBinary: await bytesOf("../vendor/jsquash-jpeg/mozjpeg_enc.wasm") });
  return jpeg;
}

async function bytesOf(name) {
  const answer = await fetch(new URL(name, import.meta.url)).catch(() => ({ ok: false }));
  if (!answer.ok) throw new Error(`A part of the codec could not be loaded: ${name}. Try again.`);
  return new Uint8Array(await answer.arrayBuffer());
}

/** As servers may do it on the way, the bytes may have been decompressed already. */
async function unzipped(bytes) {
  if (bytes[0] !== 0x1f) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
