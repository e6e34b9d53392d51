/** `.mrdc` files without Python: container, range coder, context model and networks. */

import { need, parse, spans, split, unitOf } from "./container.js";
import { Machine, readMaps } from "./machine.js";
import { readMetadata } from "./metadata.js";
import { readArchive } from "./npz.js";

export { isMrdc, parse, RefusedError } from "./container.js";
export { compress } from "./encoder.js";
export { Networks, restore } from "./pixels.js";
export { Webp } from "./webp.js";

/**
 * A codec: what `mrdcae export` wrote as context.npz.
 * @param {Uint8Array} archive bytes of context.npz.
 * @param {Uint8Array} wasm bytes of kernel.wasm.
 */
export async function loadCodec(archive, wasm) {
  const arrays = await readArchive(archive);
  const config = JSON.parse(new TextDecoder().decode(arrays.config));
  const { resolutions, thresholds } = config;
  const [decoderHalo, encoderHalo] = [config.decoder_halo, config.encoder_halo];
  const compiled = await WebAssembly.compile(wasm);
  return { arrays, resolutions, thresholds, decoderHalo, encoderHalo, compiled };
}

/**
 * All but the pixels of a file.
 *
 * Resolves to the header's fields, `routing` (level 1 to 3 of each patch), `unfiltered` (1 where a
 * patch goes without filters), `metadata` (alpha, icc, exif, as far as they are there), `sizes`
 * (bytes of the file up to each level), and `tiles`: for each its `box` in patches (top, left, bottom,
 * right), and either `symbols`, Int16Array (rows, columns, channels) of each level, coarse to fine,
 * or `stored`, the bytes of a lossless WebP file. Rejects with a RefusedError for a damaged file.
 * @param codec what `loadCodec` resolved to.
 * @param {Uint8Array} bytes of the file.
 * @param options `level`, 1 to 3: how many levels to decode; the file may end behind them.
 */
export async function decode(codec, bytes, { level = 3 } = {}) {
  const header = parse(bytes, level);
  const { arrays, resolutions, compiled } = codec;
  need(
    header.model.every((byte, at) => byte === arrays.model[at]),
    "the file was made with another model",
  );
  const unit = unitOf(resolutions);
  const [rows, columns] = [spans(header.height, unit), spans(header.width, unit)];
  const patches = [rows.at(-1)[1], columns.at(-1)[1]];
  const boxes = rows.flatMap(([top, bottom]) =>
    columns.map(([left, right]) => [top, left, bottom, right]),
  );
  const streams = header.sections
    .slice(2, 2 + level)
    .map((section) => split(section, boxes.length));
  const kernel = async () => (await WebAssembly.instantiate(compiled)).exports;
  const maps = readMaps(await kernel(), header, patches, [rows.length, columns.length]);
  const routing = maps.routing.map((own) => Math.min(own, level, resolutions));
  const machine = new Machine(await kernel(), arrays, resolutions, header.quality);
  const tiles = boxes.map((box, number) => {
    const own = streams.map((parts) => parts[number]);
    if (maps.stored[number]) return { box, stored: own[0] };
    const [top, left, bottom, right] = box;
    const part = new Uint8Array((bottom - top) * (right - left));
    for (let row = top; row < bottom; row++) {
      const start = row * patches[1];
      part.set(routing.subarray(start + left, start + right), (row - top) * (right - left));
    }
    return { box, symbols: readTile(machine, part, [bottom - top, right - left], own, level) };
  });
  const metadata = await readMetadata(header.sections[0], header.width, header.height);
  return { ...header, patches, routing, unfiltered: maps.unfiltered, metadata, tiles };
}

/**
 * Symbols of all levels of a tile, coarse to fine: Int16Array (rows, columns, channels) each, zero
 * beyond the `last` of the three sections.
 */
function readTile(machine, routing, shape, streams, last) {
  const found = machine.levels.map(({ side, channels }) => {
    const cells = ((shape[0] * 32) / side) * ((shape[1] * 32) / side);
    return new Int16Array(cells * channels);
  });
  for (const step of machine.steps(routing, shape)) {
    if (machine.sections[step.level] >= last) break;
    if (step.first) machine.startReading(streams[machine.sections[step.level]]);
    step.symbols = machine.read(step.tables);
    const { channels } = machine.levels[step.level];
    step.sites.forEach((cell, place) => {
      const part = step.symbols.subarray(place * step.size, (place + 1) * step.size);
      found[step.level].set(part, cell * channels + step.start);
    });
  }
  return found;
}
