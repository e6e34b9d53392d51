/**
 * node decode.js CONTEXT.npz LEVEL FILE.mrdc [FILE.mrdc ...]
 *
 * Prints a line of JSON for each file, read up to a level: its header, its maps, its metadata, and the
 * symbols of each tile as base64, or why it was refused.
 */

import { readFile } from "node:fs/promises";
import { decode, loadCodec, RefusedError } from "../src/index.js";

const [archive, level, ...paths] = process.argv.slice(2);
const wasm = await readFile(new URL("../src/kernel.wasm", import.meta.url));
const codec = await loadCodec(new Uint8Array(await readFile(archive)), wasm);
const text = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");
for (const path of paths) {
  try {
    const started = performance.now();
    const found = await decode(codec, new Uint8Array(await readFile(path)), { level: Number(level) });
    const tiles = found.tiles.map(({ box, symbols, stored }) => ({
      box,
      symbols: symbols?.map(text),
      stored: stored && text(stored),
    }));
    const { width, height, quality, grey, patches, sizes } = found;
    const kept = Object.entries(found.metadata).map(([name, content]) => [name, text(content)]);
    const metadata = Object.fromEntries(kept);
    const maps = { routing: text(found.routing), unfiltered: text(found.unfiltered) };
    const seconds = (performance.now() - started) / 1000;
    const header = { width, height, quality, grey, patches, sizes, metadata };
    console.log(JSON.stringify({ ...header, ...maps, tiles, seconds }));
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    console.log(JSON.stringify({ refused: error.message }));
  }
}
