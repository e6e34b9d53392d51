/**
 * The codec beside the page, so that the page never freezes: one task at a time, by messages.
 *
 * A message {id, task, ...} is answered by any number of {id, step, share} while it runs, and one
 * {id, result} or {id, error} at the end. A task gets all that it needs with its message: nothing is
 * kept here but the codec. Whoever wants to stop it ends the worker.
 */

import { compress, decode, isMrdc, loadCodec, Networks } from "../src/index.js";
import { parse, RefusedError, restore, Webp } from "../src/index.js";
import * as ort from "../vendor/onnxruntime/ort.wasm.bundle.min.mjs";
import webpDecoder from "../vendor/jsquash-webp/webp_dec.js";
import webpEncoder from "../vendor/jsquash-webp/webp_enc.js";
import { psnr, ssim } from "./measures.js";
import { avifOf, jpegOf, webpOf } from "./rivals.js";

const MOST_PIXELS = 12_000_000;
const RUNTIME = "../vendor/onnxruntime/ort-wasm-simd-threaded.wasm.gz";

let engine = null; // a promise of codec, networks and WebP

const TASKS = { open, compress: compressed, fit, rival, shown };

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

/**
 * What is in a file: `picture`, {width, height, data}, and the size it was `scaledFrom`, if it was;
 * or `file`, the bytes of a .mrdc file, and the highest `level` that is whole in it.
 */
async function open({ blob }) {
  const start = new Uint8Array(await blob.slice(0, 4).arrayBuffer());
  if (isMrdc(start)) {
    const file = new Uint8Array(await blob.arrayBuffer());
    return { file, level: levelsIn(file) };
  }
  const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" }).catch(() => {
    throw new Error(
      blob.size
        ? "This browser cannot read that file as a picture. It may be damaged, or of a kind that " +
            "browsers do not know (HEIC, raw, SVG). Try JPEG, PNG or WebP."
        : "Expected a picture or a .mrdc file. Received: an empty file.",
    );
  });
  const { width, height } = bitmap;
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (width * height)));
  const [columns, rows] = [width, height].map((side) => Math.max(1, Math.floor(side * scale)));
  const picture = drawn(bitmap, columns, rows);
  return { picture, scaledFrom: scale < 1 ? [width, height] : null };
}

/** Compress a picture at a quality: its file, and the seconds that took. */
async function compressed({ picture, quality }, say) {
  const { codec, networks, webp } = await ready(say);
  const started = performance.now();
  const options = { webp, progress: say("Encoding") };
  const file = await compress(codec, networks, picture, quality, options);
  return { file, encoding: (performance.now() - started) / 1000 };
}

/** The largest file of a picture that has at most so many bytes. */
async function fit({ picture, bytes }, say) {
  const { codec, networks, webp } = await ready(say);
  let [low, high, file] = [0, 100, null];
  const rounds = 7;
  for (let round = 0; low <= high; round++) {
    const quality = Math.floor((low + high) / 2);
    const progress = (share) => say("Looking for the quality")((round + share) / rounds);
    const made = await compress(codec, networks, picture, quality, { webp, progress });
    if (made.length <= bytes) [file, low] = [made, quality + 1];
    else high = quality - 1;
    if (!file && low > high) {
      throw new Error(`Too small: at quality 0 this picture still takes ${made.length} bytes.`);
    }
  }
  return { file };
}

/** Another codec's file of a size: its bytes, its pixels and how near they are to the picture. */
async function rival({ picture, format, bytes }, say) {
  const { webp } = await ready(say);
  const opaque = { ...picture, data: picture.data.map((v, at) => (at % 4 < 3 ? v : 255)) };
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
  const { data } = restored;
  for (let at = 3; at < data.length; at += 4) data[at] = picture.data[at];
  return { bytes: found.bytes.length, data, ...measured(picture, restored) };
}

/** A file decoded up to a level: pixels, routing, sizes and, beside a picture, PSNR and SSIM. */
async function shown({ file, level, picture }, say) {
  const { codec, networks, webp } = await ready(say);
  const started = performance.now();
  const found = await decode(codec, file, { level });
  const data = await restore(codec, networks, found, { webp, progress: say("Decoding") });
  const decoding = (performance.now() - started) / 1000;
  const { width, height, quality, routing, patches, sizes, metadata } = found;
  const stored = found.tiles.filter((tile) => tile.stored).length;
  const facts = { width, height, quality, routing, patches, size: sizes[level - 1], decoding, level };
  const beside = { stored, profile: Boolean(metadata.icc), kept: found.sections[0].length };
  return { ...facts, ...beside, data, ...(picture && measured(picture, { width, height, data })) };
}

// --- what they are made of

/** The highest level that is whole in a file; throws if not even the lowest is, or it is too large. */
function levelsIn(file) {
  const { width, height, sizes } = parse(file, 1);
  if (width * height > MOST_PIXELS) {
    throw new Error(`Expected at most 12 megapixels. Received: ${width} x ${height}.`);
  }
  return sizes.filter((size) => size <= file.length).length;
}

const measured = (picture, restored) => ({
  psnr: psnr(picture, restored),
  ssim: ssim(picture, restored),
});

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
