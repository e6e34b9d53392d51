/**
 * From pixels to the bytes of a file, as the encoder of the package does it.
 *
 * What was learned is a proposal, checked against the original: a level is left out in a patch where
 * that costs little, the filters are off where they do harm, and a tile is stored without loss where
 * that takes fewer bytes. Symbols are chosen by weighing error against bits.
 */

import { join, pack, spans, unitOf } from "./container.js";
import { levelsOf, Machine, sectionOf, writeMaps } from "./machine.js";
import { packMetadata } from "./metadata.js";
import { around, PATCH, Pixels } from "./pixels.js";
import { looksDrawn } from "./webp.js";

const ROUNDING_OFFSET = 0.4; // a latent y becomes sign(y) floor(|y| + 0.4)
const MOST = 32767; // magnitude of a symbol
const LAMBDA = 0.14; // squared quantisation steps of error that a bit must save, in training
const RDOQ_OFFSET = 0.44; // instead of 0.4, where one of two symbols is chosen
const rdoqLambda = (quality) => 0.0375 + 0.0007 * quality; // instead of LAMBDA there
const LOSS_LIMIT = 0.02; // share of the squared error that leaving levels out may add
const [BITS_OF_ONE, BITS_A_DOUBLING] = [4, 2]; // rough cost of symbols
const STORING_ALLOWANCE = 64; // bytes that a stored tile may have more than a coded one
const BEST = 100; // the quality at which every tile has this PSNR in dB, or is stored
const BEST_PSNR = 42.5;

/**
 * The bytes of a `.mrdc` file.
 * @param codec what `loadCodec` resolved to.
 * @param networks of the same codec, with the contrast graphs.
 * @param picture {width, height, data}: data is red, green, blue and alpha of each pixel, as a
 *   canvas has them.
 * @param {number} quality 0 to 100.
 * @param options `progress` is called with the share that is done, and may throw to stop. `webp`, a
 *   Webp, stores tiles without loss; without it none is.
 */
export async function compress(codec, networks, picture, quality, options = {}) {
  const { progress = () => {}, webp } = options;
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
  const levels = levelWeights(codec, quality);
  const encoder = { codec, networks, machine, levels, quality, webp };
  const maps = {
    routing: new Uint8Array(patches[0] * patches[1]),
    unfiltered: new Uint8Array(patches[0] * patches[1]),
    stored: new Uint8Array(boxes.length),
  };
  const streams = [[], [], []];
  for (const [number, box] of boxes.entries()) {
    const pixels = cut(picture, box);
    const wide = around(box, codec.encoderHalo, unit, whole.rows, whole.columns).take(whole);
    const half = () => progress((number + 0.5) / boxes.length);
    const coded = await codeTile(encoder, pixels, wide, box, half);
    maps.stored[number] = coded.stored ? 1 : 0;
    paste(maps.routing, coded.routing, box, patches[1]);
    paste(maps.unfiltered, coded.unfiltered, box, patches[1]);
    coded.streams.forEach((stream, at) => streams[at].push(stream));
    progress((number + 1) / boxes.length);
  }
  const section = writeMaps(await kernel(), maps, [patches[1], columns.length]);
  const header = {
    width,
    height,
    quality,
    model: codec.arrays.model,
    grey: isGrey(picture.data),
    stored: maps.stored.includes(1),
    unfiltered: maps.unfiltered.includes(1),
  };
  const metadata = await packMetadata({ alpha: alphaOf(picture.data) }, width);
  return pack(header, [metadata, section, ...streams.map(join)]);
}

/** A tile coded, or stored without loss where that takes few more bytes. */
async function codeTile(encoder, pixels, wide, box, half) {
  const { codec, networks, machine, levels, quality, webp } = encoder;
  const shape = [box[2] - box[0], box[3] - box[1]];
  const unfiltered = new Uint8Array(shape[0] * shape[1]);
  const none = new Uint8Array(0);
  const asStored = (bytes) => {
    return { streams: [bytes, none, none], routing: unfiltered.map(() => 1), unfiltered, stored: true };
  };
  const drawn = looksDrawn(pixels);
  const lossless = drawn && webp ? webp.encode(pixels) : null;
  const { latents, proposed } = await analysed(codec, networks, wide, box, quality);
  const routing = await routed(codec, networks, levels, latents, proposed, shape, quality);
  half();
  const { streams, symbols } = await writeTile(machine, networks, levels, latents, routing, quality, shape);
  const size = streams.reduce((sum, stream) => sum + stream.length, 0);
  if (lossless && lossless.length <= size + STORING_ALLOWANCE) return asStored(lossless);
  if (quality === BEST || drawn) { // photographs are what the filters were trained on
    const measured = await measureFilters(networks, pixels, symbols, shape, quality);
    if (quality === BEST && webp && measured.psnr < BEST_PSNR) {
      return asStored(lossless ?? webp.encode(pixels));
    }
    return { streams, routing, unfiltered: measured.off, stored: false };
  }
  return { streams, routing, unfiltered, stored: false };
}

/** The patches in which the filters only do harm, and the PSNR of the tile as it will be decoded. */
async function measureFilters(networks, pixels, symbols, shape, quality) {
  const { image } = await networks.run("synthesis", quality, symbols);
  const { restored } = await networks.run("filter", quality, {
    image: [image.data, [shape[0] * PATCH, shape[1] * PATCH, 3]],
  });
  const [before, after, rounded] = [0, 1, 2].map(() => new Float64Array(shape[0] * shape[1]));
  const off = new Uint8Array(before.length);
  const visit = (add) => {
    for (let row = 0; row < pixels.height; row++) {
      for (let column = 0; column < pixels.width; column++) {
        const patch = Math.floor(row / PATCH) * shape[1] + Math.floor(column / PATCH);
        for (let c = 0; c < 3; c++) {
          const at = 3 * (row * shape[1] * PATCH + column) + c;
          add(patch, at, pixels.data[4 * (row * pixels.width + column) + c]);
        }
      }
    }
  };
  const within = (value) => Math.min(1, Math.max(0, value));
  visit((patch, at, value) => {
    before[patch] += (within(image.data[at]) - value / 255) ** 2;
    after[patch] += (within(restored.data[at]) - value / 255) ** 2;
  });
  before.forEach((error, patch) => (off[patch] = error < after[patch] ? 1 : 0));
  visit((patch, at, value) => {
    const kept = off[patch] ? image.data[at] : restored.data[at];
    rounded[patch] += (Math.round(255 * within(kept)) - value) ** 2;
  });
  const error = rounded.reduce((sum, part) => sum + part) / (3 * pixels.width * pixels.height);
  return { off, psnr: 10 * Math.log10(255 ** 2 / error) };
}

/** The part of a picture that lies in a box of patches. */
function cut({ width, height, data }, [top, left, bottom, right]) {
  const [rows, columns] = [Math.min(height, bottom * PATCH), Math.min(width, right * PATCH)];
  const part = { width: columns - left * PATCH, height: rows - top * PATCH };
  part.data = new Uint8ClampedArray(4 * part.width * part.height);
  for (let row = top * PATCH; row < rows; row++) {
    const from = 4 * (row * width + left * PATCH);
    const to = 4 * (row - top * PATCH) * part.width;
    part.data.set(data.subarray(from, from + 4 * part.width), to);
  }
  for (let at = 3; at < part.data.length; at += 4) part.data[at] = 255;
  return part;
}

/** Copy the values of the patches of a box into a map that has so many columns. */
function paste(map, values, [top, left, bottom, right], columns) {
  for (let row = top; row < bottom; row++) {
    const part = values.subarray((row - top) * (right - left), (row - top + 1) * (right - left));
    map.set(part, row * columns + left);
  }
}

/** Transparency, one byte a pixel; null if all is opaque. */
function alphaOf(data) {
  const alpha = Uint8Array.from({ length: data.length / 4 }, (_, at) => data[4 * at + 3]);
  return alpha.every((value) => value === 255) ? null : alpha;
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

/** Of each level at a quality: gains and shifts of its channels, and what an error in them weighs. */
function levelWeights(codec, quality) {
  const t = quality / 50 - 1;
  const features = [1, t, 2 * t * t - 1, 4 * t ** 3 - 3 * t];
  return Array.from({ length: codec.resolutions }, (_, level) => {
    const at = (curve) =>
      Float32Array.from({ length: curve.shape[1] }, (_, channel) =>
        features.reduce((sum, value, n) => sum + value * curve[n * curve.shape[1] + channel], 0),
      );
    const gains = at(codec.arrays[`gain${level}`]).map(Math.exp);
    const shifts = at(codec.arrays[`shift${level}`]);
    const weights = codec.arrays[`energy${level}`].map((energy, n) => energy / gains[n] ** 2);
    return { gains, shifts, weights, switched: sectionOf(level, codec.resolutions) > 0 };
  });
}

/** Latents of all levels of a tile, {data, shape} of each, and the routing that is proposed. */
async function analysed(codec, networks, wide, [top, left, bottom, right], quality) {
  const image = [wide.data, [wide.rows, wide.columns, 3]];
  const found = await networks.run("analysis", quality, { image });
  const inner = ({ dims, data }, side) => {
    const [, , columns, channels = 1] = dims;
    const [y, x] = [(top * PATCH - wide.top) / side, (left * PATCH - wide.left) / side];
    const shape = [((bottom - top) * PATCH) / side, ((right - left) * PATCH) / side, channels];
    const part = new Float32Array(shape[0] * shape[1] * channels);
    for (let row = 0; row < shape[0]; row++) {
      const from = ((y + row) * columns + x) * channels;
      part.set(data.subarray(from, from + shape[1] * channels), row * shape[1] * channels);
    }
    return { data: part, shape };
  };
  const latents = levelsOf(codec.resolutions).map(({ side }, level) =>
    inner(found[`level${level}`], side),
  );
  const highest = Math.min(codec.resolutions, 3);
  const patches = (bottom - top) * (right - left);
  const proposed = new Uint8Array(patches).fill(highest);
  if (found.logits) {
    inner(found.logits, PATCH).data.forEach((logit, patch) => {
      const score = 1 / (1 + Math.exp(-logit));
      proposed[patch] = 1 + codec.thresholds.filter((threshold) => score > threshold).length;
    });
  }
  return { latents, proposed };
}

/** The symbol of a latent. */
function quantise(y, offset = ROUNDING_OFFSET) {
  const size = Math.min(MOST, Math.floor(Math.abs(y) + offset));
  return y < 0 ? -size : size;
}

/** The contrast gain of each cell of a level, from the symbols of all coarser ones; null is one. */
async function contrast(networks, level, switched, inputs, quality) {
  if (!switched) return null;
  return (await networks.run(`contrast${level}`, quality, inputs)).gain.data;
}

/**
 * The routing of a tile: what attention proposes, checked against what it would cost.
 *
 * A level is left out in a patch if all its symbols are zero; and if attention proposes that and what
 * it adds to the error is worth less than the bits it saves, as long as all patches together stay
 * within LOSS_LIMIT.
 */
async function routed(codec, networks, levels, latents, proposed, shape, quality) {
  const inputs = {};
  const [losses, bits] = [[], []];
  let error = 0;
  for (const [level, { data, shape: own }] of latents.entries()) {
    const { gains, shifts, weights, switched } = levels[level];
    const gain = await contrast(networks, level, switched, inputs, quality);
    const symbols = new Float32Array(data.length);
    const [lost, cost] = [proposed, proposed].map(({ length }) => new Float64Array(length));
    const side = own[0] / shape[0]; // of a patch, in cells
    for (let at = 0; at < data.length; at++) {
      const [cell, channel] = [Math.floor(at / own[2]), at % own[2]];
      const factor = gain ? gain[cell] : 1;
      const k = (symbols[at] = quantise(data[at] * factor));
      error += data[at] ** 2 * weights[channel];
      if (!k) continue;
      const restored = (k - Math.sign(k) * shifts[channel]) / factor;
      const added = (data[at] ** 2 - (data[at] - restored) ** 2) * weights[channel];
      error -= added;
      if (!switched) continue;
      const row = Math.floor(Math.floor(cell / own[1]) / side);
      const patch = row * shape[1] + Math.floor((cell % own[1]) / side);
      lost[patch] += added;
      cost[patch] += BITS_OF_ONE + BITS_A_DOUBLING * Math.log2(Math.abs(k));
    }
    inputs[`level${level}`] = [symbols, own];
    if (switched) {
      losses.push(lost);
      bits.push(cost);
    }
  }
  return cheapest(proposed, losses, bits, error);
}

/** The routing of `routed`, from the loss and bits of each level that may be left out. */
function cheapest(proposed, losses, bits, error) {
  const routing = new Uint8Array(proposed.length).fill(1 + losses.length);
  const loss = new Float64Array(proposed.length); // of what was left out in a patch so far
  for (let level = losses.length; level > 0; level--) {
    for (let patch = 0; patch < routing.length; patch++) {
      const [added, saved] = [losses[level - 1][patch], bits[level - 1][patch]];
      const worth = proposed[patch] <= level && added <= LAMBDA * saved;
      if (routing[patch] !== level + 1 || !(worth || saved === 0)) continue;
      routing[patch] = level;
      loss[patch] += added;
    }
  }
  let sum = 0;
  for (const patch of [...loss.keys()].sort((a, b) => loss[a] - loss[b])) {
    sum += loss[patch];
    if (sum <= LOSS_LIMIT * error) continue;
    routing[patch] = 1 + (bits.findLastIndex((saved) => saved[patch]) + 1);
  }
  return routing;
}

/** The streams of the three sections of a tile, and its symbols as the networks take them. */
async function writeTile(machine, networks, levels, latents, routing, quality, shape) {
  const streams = [0, 1, 2].map(() => new Uint8Array(0));
  const inputs = {};
  const lambda = rdoqLambda(quality);
  let [level, section, gain, symbols] = [-1, -1, null, null];
  for (const step of machine.steps(routing, shape)) {
    const { data, shape: own } = latents[step.level];
    if (step.level !== level) {
      level = step.level;
      gain = await contrast(networks, level, levels[level].switched, inputs, quality);
      symbols = new Float32Array(data.length);
      inputs[`level${level}`] = [symbols, own];
    }
    if (step.first) {
      if (section >= 0) streams[section] = machine.finishWriting();
      section = machine.sections[level];
      const all = latents.filter((_, number) => machine.sections[number] === section);
      machine.startWriting(all.reduce((sum, part) => sum + part.data.length, 0));
    }
    step.symbols = new Int16Array(step.sites.length * step.size);
    step.sites.forEach((cell, place) => {
      for (let n = 0; n < step.size; n++) {
        const [at, channel] = [cell * own[2] + step.start + n, step.start + n];
        const y = data[at] * (gain ? gain[cell] : 1);
        const table = step.tables[place * step.size + n];
        symbols[at] = chosen(machine, y, table, levels[level].weights[channel] / lambda);
        step.symbols[place * step.size + n] = symbols[at];
      }
    });
    machine.write(step.tables, step.symbols);
  }
  streams[section] = machine.finishWriting();
  return { streams, symbols: inputs };
}

/** The symbol of a latent, or the one nearer to zero, if its error costs less than its bits save. */
function chosen(machine, y, table, weight) {
  const larger = quantise(y, RDOQ_OFFSET);
  if (!larger) return 0;
  const smaller = larger - Math.sign(larger);
  const saved = machine.cost(larger, table) - machine.cost(smaller, table);
  const added = weight * ((y - smaller) ** 2 - (y - larger) ** 2);
  return added < saved ? smaller : larger;
}
