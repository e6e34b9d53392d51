/**
 * From pixels to the bytes of a file.
 *
 * It is the encoder of the package without its finer choices: a patch gets all levels in which it
 * has a symbol that is not zero, symbols are rounded without weighing error against bits, and no
 * tile is stored.
 */

import { join, pack, spans, unitOf } from "./container.js";
import { Machine, sectionOf, writeMaps } from "./machine.js";
import { around, PATCH, Pixels } from "./pixels.js";

const ROUNDING_OFFSET = 0.4; // a latent y becomes sign(y) floor(|y| + 0.4)
const MOST = 32767; // magnitude of a symbol

/**
 * The bytes of a `.mrdc` file.
 * @param codec what `loadCodec` resolved to.
 * @param networks of the same codec, with the contrast graphs.
 * @param picture {width, height, data}: data is red, green, blue and alpha of each pixel, as a
 *   canvas has them; transparency is left out.
 * @param {number} quality 0 to 100.
 * @param options `progress` is called with the share that is done, and may throw to stop.
 */
export async function compress(codec, networks, picture, quality, { progress = () => {} } = {}) {
  const { width, height } = picture;
  const unit = unitOf(codec.resolutions);
  const [rows, columns] = [spans(height, unit), spans(width, unit)];
  const patches = [rows.at(-1)[1], columns.at(-1)[1]];
  const whole = normalised(picture, patches[0] * PATCH, patches[1] * PATCH);
  const boxes = rows.flatMap(([top, bottom]) =>
    columns.map(([left, right]) => [top, left, bottom, right]),
  );
  const kernel = async () => (await WebAssembly.instantiate(codec.compiled)).exports;
  const machine = new Machine(await kernel(), codec.arrays, codec.resolutions, quality);
  const routing = new Uint8Array(patches[0] * patches[1]);
  const streams = [[], [], []];
  for (const [number, box] of boxes.entries()) {
    const shape = [box[2] - box[0], box[3] - box[1]];
    const wide = around(box, codec.encoderHalo, unit, whole.rows, whole.columns).take(whole);
    const latents = await analysed(codec, networks, wide, box, quality);
    const symbols = await quantised(codec, networks, latents, quality);
    progress((number + 0.5) / boxes.length);
    const own = routed(machine, symbols, shape);
    for (let row = 0; row < shape[0]; row++) {
      const part = own.subarray(row * shape[1], (row + 1) * shape[1]);
      routing.set(part, (box[0] + row) * patches[1] + box[1]);
    }
    writeTile(machine, own, shape, symbols).forEach((stream, at) => streams[at].push(stream));
    progress((number + 1) / boxes.length);
  }
  const maps = writeMaps(await kernel(), routing, patches[1]);
  const header = { width, height, quality, model: codec.arrays.model, grey: isGrey(picture.data) };
  return pack(header, [new Uint8Array(0), maps, ...streams.map(join)]);
}

/** The picture in [0, 1], its last row and column repeated. */
function normalised({ width, height, data }, rows, columns) {
  const whole = new Pixels(0, 0, rows, columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const from = 4 * (Math.min(row, height - 1) * width + Math.min(column, width - 1));
      const to = 3 * (row * columns + column);
      for (let c = 0; c < 3; c++) whole.data[to + c] = Math.fround(data[from + c] / 255);
    }
  }
  return whole;
}

function isGrey(data) {
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] !== data[at + 1] || data[at] !== data[at + 2]) return false;
  }
  return true;
}

/** Latents of all levels of a tile: {data, shape} of each, cut out of a wider rectangle. */
async function analysed(codec, networks, wide, [top, left, bottom, right], quality) {
  const image = [wide.data, [wide.rows, wide.columns, 3]];
  const found = await networks.run("analysis", quality, { image });
  return Array.from({ length: codec.resolutions }, (_, level) => {
    const side = (4 << codec.resolutions) >> level;
    const [, , columns, channels] = found[`level${level}`].dims;
    const [y, x] = [(top * PATCH - wide.top) / side, (left * PATCH - wide.left) / side];
    const shape = [((bottom - top) * PATCH) / side, ((right - left) * PATCH) / side, channels];
    const data = new Float32Array(shape[0] * shape[1] * channels);
    for (let row = 0; row < shape[0]; row++) {
      const from = ((y + row) * columns + x) * channels;
      const part = found[`level${level}`].data.subarray(from, from + shape[1] * channels);
      data.set(part, row * shape[1] * channels);
    }
    return { data, shape };
  });
}

/** Symbols of all levels: each is rounded after the contrast gain that the coarser ones give. */
async function quantised(codec, networks, latents, quality) {
  const inputs = {};
  const symbols = [];
  for (const [level, { data, shape }] of latents.entries()) {
    let gain = null;
    if (sectionOf(level, codec.resolutions) > 0) {
      gain = (await networks.run(`contrast${level}`, quality, inputs)).gain.data;
    }
    const own = new Int16Array(data.length);
    for (let at = 0; at < data.length; at++) {
      const y = gain ? data[at] * gain[Math.floor(at / shape[2])] : data[at];
      const size = Math.min(MOST, Math.floor(Math.abs(y) + ROUNDING_OFFSET));
      own[at] = y < 0 ? -size : size;
    }
    symbols.push(own);
    inputs[`level${level}`] = [Float32Array.from(own), shape];
  }
  return symbols;
}

/** For each patch the last section in which it has a symbol that is not zero, 1 to 3. */
function routed(machine, symbols, shape) {
  const routing = new Uint8Array(shape[0] * shape[1]).fill(1);
  machine.levels.forEach(({ side, groups }, level) => {
    const section = machine.sections[level];
    if (section === 0) return;
    const channels = groups.reduce((sum, size) => sum + size, 0);
    const columns = (shape[1] * PATCH) / side;
    symbols[level].forEach((symbol, at) => {
      if (!symbol) return;
      const cell = Math.floor(at / channels);
      const row = Math.floor((Math.floor(cell / columns) * side) / PATCH);
      const patch = row * shape[1] + Math.floor(((cell % columns) * side) / PATCH);
      routing[patch] = Math.max(routing[patch], section + 1);
    });
  });
  return routing;
}

/** The streams of the three sections of a tile. */
function writeTile(machine, routing, shape, symbols) {
  const streams = [0, 1, 2].map(() => new Uint8Array(0));
  let section = -1;
  for (const step of machine.steps(routing, shape)) {
    if (step.first) {
      if (section >= 0) streams[section] = machine.finishWriting();
      section = machine.sections[step.level];
      const own = symbols.filter((_, level) => machine.sections[level] === section);
      machine.startWriting(own.reduce((sum, { length }) => sum + length, 0));
    }
    const channels = machine.levels[step.level].groups.reduce((sum, size) => sum + size, 0);
    step.symbols = new Int16Array(step.sites.length * step.size);
    step.sites.forEach((cell, place) => {
      const from = cell * channels + step.start;
      step.symbols.set(symbols[step.level].subarray(from, from + step.size), place * step.size);
    });
    machine.write(step.tables, step.symbols);
  }
  streams[section] = machine.finishWriting();
  return streams;
}
