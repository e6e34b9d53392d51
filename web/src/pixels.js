/** From symbols to pixels: the networks as ONNX graphs, run by an ONNX runtime, tile by tile. */

import { need, unitOf } from "./container.js";
import { levelsOf } from "./machine.js";
import { sizeOf } from "./webp.js";

export const PATCH = 32;

/** The graphs that `mrdcae export` wrote, ready to run. */
export class Networks {
  /**
   * @param ort onnxruntime-web, or another runtime with its interface.
   * @param sessions by name: analysis, synthesis, filter.
   */
  constructor(ort, sessions) {
    this.ort = ort;
    this.sessions = sessions;
  }

  /**
   * @param ort onnxruntime-web.
   * @param {Object<string, Uint8Array>} graphs bytes of the .onnx files by name.
   * @param options of `ort.InferenceSession.create`.
   */
  static async load(ort, graphs, options = { executionProviders: ["wasm"] }) {
    const sessions = {};
    for (const [name, graph] of Object.entries(graphs)) {
      sessions[name] = await ort.InferenceSession.create(graph, options);
    }
    return new Networks(ort, sessions);
  }

  /** The outputs of a graph, from arrays with the shapes of one picture and the quality. */
  async run(name, quality, inputs) {
    const feeds = { quality: new this.ort.Tensor("float32", [quality], [1]) };
    for (const [key, [numbers, shape]] of Object.entries(inputs)) {
      feeds[key] = new this.ort.Tensor("float32", numbers, [1, ...shape]);
    }
    return this.sessions[name].run(feeds);
  }
}

/** A rectangle of pixels: float32 (rows, columns, 3) that starts at a row and a column. */
export class Pixels {
  constructor(top, left, rows, columns, data = new Float32Array(rows * columns * 3)) {
    Object.assign(this, { top, left, rows, columns, data });
  }

  /** Copy what another rectangle has in common with this one. */
  take(other) {
    const top = Math.max(this.top, other.top);
    const left = Math.max(this.left, other.left);
    const bottom = Math.min(this.top + this.rows, other.top + other.rows);
    const right = Math.min(this.left + this.columns, other.left + other.columns);
    for (let row = top; row < bottom; row++) {
      const from = ((row - other.top) * other.columns + left - other.left) * 3;
      const to = ((row - this.top) * this.columns + left - this.left) * 3;
      this.data.set(other.data.subarray(from, from + (right - left) * 3), to);
    }
    return this;
  }
}

/**
 * The pixels of a file: Uint8ClampedArray (height, width, 4), as a canvas takes them.
 * @param codec what `loadCodec` resolved to.
 * @param {Networks} networks of the same codec.
 * @param found what `decode` resolved to.
 * @param options `webp`, a Webp, is needed for files with stored tiles. `progress` is called with the
 *   share that is done, and may throw to stop.
 */
export async function restore(codec, networks, found, { webp, progress = () => {} } = {}) {
  const unit = unitOf(codec.resolutions);
  const [rows, columns] = found.patches.map((patches) => patches * PATCH);
  const before = new Pixels(0, 0, rows, columns);
  const kept = Uint8Array.from(found.unfiltered);
  const steps = 2 * found.tiles.length;
  let done = 0;
  for (const tile of found.tiles) {
    before.take(await synthesised(codec, networks, found, tile, webp));
    if (tile.stored) markKept(kept, found.patches[1], tile.box);
    progress(++done / steps);
  }
  const result = new Uint8ClampedArray(found.width * found.height * 4);
  for (const tile of found.tiles) {
    const wide = around(tile.box, codec.decoderHalo, unit, rows, columns).take(before);
    if (!tile.stored) {
      const shape = [wide.rows, wide.columns, 3];
      const image = [wide.data, shape];
      wide.data = (await networks.run("filter", found.quality, { image })).restored.data;
    }
    write(result, found, tile.box, wide, before, kept);
    progress(++done / steps);
  }
  found.metadata.alpha?.forEach((value, at) => (result[4 * at + 3] = value));
  return result;
}

/** The pixels of a tile before the filters. */
async function synthesised(codec, networks, found, tile, webp) {
  const [top, left, bottom, right] = tile.box.map((side) => side * PATCH);
  const place = [top, left, bottom - top, right - left];
  if (tile.stored) {
    need(webp, "the file has tiles that are stored as WebP, which cannot be decoded here");
    return padded(tile.stored, webp, ...place, found);
  }
  const inputs = {};
  levelsOf(codec.resolutions).forEach(({ side, channels }, level) => {
    const shape = [(bottom - top) / side, (right - left) / side, channels];
    inputs[`level${level}`] = [Float32Array.from(tile.symbols[level]), shape];
  });
  const { image } = await networks.run("synthesis", found.quality, inputs);
  return new Pixels(...place, image.data);
}

/** A stored tile, its last row and column repeated up to whole units. */
function padded(stored, webp, top, left, rows, columns, found) {
  const [width, height] = sizeOf(stored);
  const inside = [Math.min(columns, found.width - left), Math.min(rows, found.height - top)];
  need(width === inside[0] && height === inside[1], "a stored tile of another size");
  const picture = webp.decode(stored);
  const tile = new Pixels(top, left, rows, columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const from = 4 * (Math.min(row, height - 1) * width + Math.min(column, width - 1));
      for (let c = 0; c < 3; c++) {
        tile.data[3 * (row * columns + column) + c] = picture.data[from + c] / 255;
      }
    }
  }
  return tile;
}

function markKept(kept, columns, [top, left, bottom, right]) {
  for (let row = top; row < bottom; row++) kept.fill(1, row * columns + left, row * columns + right);
}

/** An empty rectangle: a box of patches and what the filters look at around it, in whole units. */
export function around([top, left, bottom, right], halo, unit, rows, columns) {
  const more = Math.ceil(halo / unit) * unit;
  const [first, start] = [top, left].map((side) => Math.max(0, side * PATCH - more));
  const last = Math.min(rows, bottom * PATCH + more);
  const end = Math.min(columns, right * PATCH + more);
  return new Pixels(first, start, last - first, end - start);
}

/** Round the pixels of a tile into the result; patches that are kept come from before the filters. */
function write(result, found, [top, left, bottom, right], after, before, kept) {
  const last = Math.min(found.height, bottom * PATCH);
  const end = Math.min(found.width, right * PATCH);
  for (let row = top * PATCH; row < last; row++) {
    const patches = Math.floor(row / PATCH) * found.patches[1];
    for (let column = left * PATCH; column < end; column++) {
      const { data, top: y, left: x, columns } = kept[patches + (column >> 5)] ? before : after;
      const from = 3 * ((row - y) * columns + column - x);
      const to = 4 * (row * found.width + column);
      const grey = found.grey ? (data[from] + data[from + 1] + data[from + 2]) / 3 : 0;
      for (let c = 0; c < 3; c++) result[to + c] = 255 * (found.grey ? grey : data[from + c]);
      result[to + 3] = 255;
    }
  }
}
