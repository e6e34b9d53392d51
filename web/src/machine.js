/**
 * The context model in whole numbers, and the range coder: between the streams of a tile and the
 * symbols of all levels, as book/back/format.md describes it.
 */

import { RefusedError, need } from "./container.js";

const SUPPORT = Array.from({ length: 64 }, (_, table) =>
  Math.min(1023, Math.ceil(12 * Math.exp(-3.2 + 0.17 * table)) + 2),
);
const FEATURE = Float32Array.from({ length: 4096 }, (_, size) =>
  Math.min(127, Math.floor(16 * Math.log(1 + size) + 0.5)),
);
const PLAIN = Int32Array.from({ length: (1 << 17) + 1 }, (_, symbol) => symbol << 7);
const TOTAL = 1 << 24;
const LIMIT = 1 << 22; // of a state

/** The section, low, medium or high (0 to 2), that a level is written to. */
export const sectionOf = (level, resolutions) =>
  Math.max(0, level - Math.max(resolutions - 2, 1) + 1);

/** Levels from coarse to fine: pixels along a cell, sizes of the groups of channels, and channels. */
export function levelsOf(resolutions) {
  const first = 4 << resolutions;
  return Array.from({ length: resolutions }, (_, level) => {
    const side = first >> level;
    let groups = side >= 32 ? [8, 16, 24, 32, 64] : [24, 24, 96];
    if (level === 0) groups = side >= 32 ? [4, 12, 48, 32, 96] : [16, 48, 32, 96];
    return { side, groups, channels: groups.reduce((sum, size) => sum + size, 0) };
  });
}

/** The places of each table. */
function byTable(tables) {
  const places = Array.from({ length: 64 }, () => []);
  tables.forEach((table, place) => places[table].push(place));
  return places;
}

/** Left edges of the symbols' shares of 2^24, and 2^24. */
function edges(counts, total) {
  const found = new Int32Array(counts.length + 1);
  let below = 0;
  counts.forEach((count, symbol) => {
    found[symbol] = Math.floor((below * (TOTAL - counts.length)) / total) + symbol;
    below += count;
  });
  found[counts.length] = TOTAL;
  return found;
}

/** Arrays in the memory of the kernel, one after another; `release` forgets all since a `mark`. */
class Memory {
  constructor(kernel) {
    this.memory = kernel.memory;
    this.top = 16;
  }

  /** Place for so many numbers of 4 bytes, aligned for the kernel. */
  place(count) {
    const at = this.top;
    this.top += Math.ceil(count / 4) * 16;
    const missing = this.top - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / 65536));
    return at;
  }

  floats(at, count) {
    return new Float32Array(this.memory.buffer, at, count);
  }

  ints(at, count) {
    return new Int32Array(this.memory.buffer, at, count);
  }

  /** Put numbers into the memory and say where they are. */
  put(numbers) {
    const at = this.place(numbers.length);
    const view = numbers instanceof Int32Array ? this.ints : this.floats;
    view.call(this, at, numbers.length).set(numbers);
    return at;
  }
}

/** Reads symbols from range-coded streams. */
class Reader {
  constructor(kernel, memory) {
    this.kernel = kernel;
    this.memory = memory;
  }

  /** Begin a stream of bytes. */
  start(stream) {
    const words = Math.ceil(stream.length / 4);
    const padded = new Uint8Array(4 * words);
    padded.set(stream);
    const view = new DataView(padded.buffer);
    const swapped = Int32Array.from({ length: words }, (_, word) => view.getInt32(4 * word));
    this.kernel.start(this.memory.put(swapped), words);
  }

  /** So many symbols of a table, which lies at a place and has so many. */
  read(table, size, count) {
    const mark = this.memory.top;
    const out = this.memory.place(count);
    need(this.kernel.decode(table, size, count, out), "a stream holds impossible data");
    const symbols = this.memory.ints(out, count).slice();
    this.memory.top = mark;
    return symbols;
  }

  /** One symbol by the counts of its kinds. */
  one(counts) {
    const mark = this.memory.top;
    const total = counts.reduce((sum, count) => sum + count, 0);
    const [symbol] = this.read(this.memory.put(edges(counts, total)), counts.length, 1);
    this.memory.top = mark;
    return symbol;
  }
}

/** The bytes that an encoder wrote from a place on, as few as decode alike. */
function finished(kernel, memory, start) {
  const words = (kernel.written() - start) / 4;
  const bytes = new Uint8Array(4 * words + 8);
  const view = new DataView(bytes.buffer);
  memory.ints(start, words).forEach((word, n) => view.setInt32(4 * n, word));
  const lower = BigInt.asUintN(64, kernel.lower());
  const end = lower + BigInt.asUintN(64, kernel.size());
  const last = (end < 1n << 64n ? end : 1n << 64n) - 1n;
  for (let zeros = 64n; zeros >= 0n; zeros -= 8n) {
    const point = ((lower + (1n << zeros) - 1n) >> zeros) << zeros;
    if (point > last) continue;
    view.setBigUint64(4 * words, point);
    break;
  }
  return bytes.subarray(0, bytes.findLastIndex((byte) => byte) + 1);
}

/**
 * The maps section. Those of stored tiles and of filters are written only if anything is set in them.
 * @param {Uint8Array} routing level 1 to 3 of each patch.
 * @param {number[]} columns of patches, and of tiles.
 */
export function writeMaps(kernel, { routing, unfiltered, stored }, columns) {
  const memory = new Memory(kernel);
  const start = memory.place(routing.length + unfiltered.length + stored.length + 4);
  kernel.begin(start);
  const write = (values, width, kinds) => {
    const seen = new Map();
    values.forEach((value, place) => {
      const beside = place % width ? values[place - 1] : -1;
      const above = place >= width ? values[place - width] : -1;
      const context = 8 * (beside + 1) + above + 1;
      if (!seen.has(context)) seen.set(context, new Array(kinds).fill(1));
      const counts = seen.get(context);
      const mark = memory.top;
      const table = memory.put(edges(counts, counts.reduce((sum, count) => sum + count)));
      kernel.encode(table, memory.put(Int32Array.of(value)), 1);
      memory.top = mark;
      counts[value]++;
    });
  };
  if (stored.includes(1)) write(stored, columns[1], 2);
  write(routing.map((level) => level - 1), columns[0], 3);
  if (unfiltered.includes(1)) write(unfiltered, columns[0], 2);
  return finished(kernel, memory, start);
}

/** Stored tiles, levels of patches, patches without filters: three grids, in row order. */
export function readMaps(kernel, header, patches, tiles) {
  const memory = new Memory(kernel);
  const reader = new Reader(kernel, memory);
  reader.start(header.sections[1]);
  const read = ([rows, columns], kinds) => {
    const [seen, found] = [new Map(), new Uint8Array(rows * columns)];
    for (let place = 0; place < found.length; place++) {
      const beside = place % columns ? found[place - 1] : -1;
      const above = place >= columns ? found[place - columns] : -1;
      const context = 8 * (beside + 1) + above + 1;
      if (!seen.has(context)) seen.set(context, new Array(kinds).fill(1));
      const counts = seen.get(context);
      found[place] = reader.one(counts);
      counts[found[place]]++;
    }
    return found;
  };
  const none = ([rows, columns]) => new Uint8Array(rows * columns);
  const stored = header.stored ? read(tiles, 2) : none(tiles);
  const routing = read(patches, 3).map((level) => level + 1);
  const unfiltered = header.unfiltered ? read(patches, 2) : none(patches);
  return { stored, routing, unfiltered };
}

/** The context model of a codec at one quality. */
export class Machine {
  /**
   * @param kernel exports of kernel.wasm, an instance that nothing else uses.
   * @param arrays of the codec's context model, by name.
   * @param {number} resolutions of the codec.
   * @param {number} quality 0 to 100.
   */
  constructor(kernel, arrays, resolutions, quality) {
    this.kernel = kernel;
    this.memory = new Memory(kernel);
    this.reader = new Reader(kernel, this.memory);
    this.levels = levelsOf(resolutions);
    this.sections = this.levels.map((_, level) => sectionOf(level, resolutions));
    this.plain = this.memory.put(PLAIN);
    let at = 0;
    this.tables = [];
    this.bits = []; // of the symbols of each table, and of its escape
    for (const support of SUPPORT) {
      const counts = Array.from(arrays.tables.subarray(at, (at += 2 * support + 2)));
      this.tables.push(this.memory.put(edges(counts, 1 << 16)));
      this.bits.push(counts.map((count) => 16 - Math.log2(count)));
    }
    this.curves = {};
    this.kernels = {};
    for (const [name, array] of Object.entries(arrays)) {
      if (!/^(start|level)/.test(name)) continue;
      const width = array.shape.at(-1);
      if (name === "start" || name.endsWith("_bias")) {
        const phases = array.shape.length === 3 ? array.shape[0] : 1;
        this.curves[name] = Array.from({ length: phases }, (_, phase) => {
          const start = (phase * array.shape.at(-2) + quality) * width;
          return Float32Array.from(array.subarray(start, start + width));
        });
      } else this.kernels[name] = this.memory.put(Float32Array.from(array));
    }
    this.width = this.curves.start[0].length;
    this.mark = this.memory.top;
  }

  /**
   * The coding steps of a tile, in order. Whoever takes one sets its `symbols`, Int16Array (sites,
   * size), before asking for the next: the decoder to what it reads, the encoder to what it chose.
   * A step has `level`, `first` (of its section), `sites` (cells of the level's grid, `columns`
   * wide), `start` and `size` (of the channels), and `tables`, Uint8Array (sites, size).
   * @param {Uint8Array} routing level 1 to 3 of each patch.
   * @param {number[]} shape rows and columns of patches.
   */
  *steps(routing, shape) {
    let state, mask;
    for (const [level, { side, groups }] of this.levels.entries()) {
      const [rows, columns] = shape.map((patches) => (patches * 32) / side);
      const before = mask;
      mask = new Uint8Array(rows * columns);
      for (let cell = 0; cell < mask.length; cell++) {
        const [row, column] = [Math.floor(cell / columns), cell % columns];
        const patch = Math.floor((row * side) / 32) * shape[1] + Math.floor((column * side) / 32);
        mask[cell] = routing[patch] > this.sections[level] ? 1 : 0;
      }
      if (level === 0) {
        state = new Float32Array(mask.length * this.width);
        for (let at = 0; at < state.length; at += this.width) state.set(this.curves.start[0], at);
      } else state = this.refine(`level${level - 1}`, state, before, columns / 2);
      let first = level === 0 || this.sections[level] !== this.sections[level - 1];
      let start = 0;
      for (const [group, size] of groups.entries()) {
        const name = `level${level}_group${group}`;
        for (const phase of [0, 1]) {
          const sites = [];
          for (let cell = 0; cell < mask.length; cell++) {
            const parity = (Math.floor(cell / columns) + (cell % columns)) & 1;
            if (mask[cell] && parity === phase) sites.push(cell);
          }
          const tables = this.choose(name, phase, state, sites, size);
          const step = { level, first, sites, columns, start, size, tables };
          yield step;
          this.update(`${name}_update`, state, sites, step.symbols, size, columns, mask.length);
          first = false;
        }
        start += size;
      }
    }
  }

  /** Bits of a symbol under a table. */
  cost(symbol, table) {
    const support = SUPPORT[table];
    const bits = this.bits[table];
    return Math.abs(symbol) > support ? bits.at(-1) + 17 : bits[symbol + support];
  }

  /** Begin to read a section: the stream of a tile. */
  startReading(stream) {
    this.memory.top = this.mark;
    this.reader.start(stream);
  }

  /** Begin to write a section that holds so many symbols at most. */
  startWriting(count) {
    this.memory.top = this.mark;
    this.stream = this.memory.place(2 * count + 4); // a symbol takes 41 bits at most
    this.kernel.begin(this.stream);
  }

  /** The bytes of the section that was written. */
  finishWriting() {
    return finished(this.kernel, this.memory, this.stream);
  }

  /** What the networks see of the states of some cells, (sites, width). */
  activated(state, sites) {
    const { width } = this;
    const seen = new Float32Array(sites.length * width);
    sites.forEach((cell, place) => {
      for (let n = 0; n < width; n++) {
        seen[place * width + n] = activation(state[cell * width + n], 8);
      }
    });
    return seen;
  }

  /** Table of each symbol, Uint8Array (sites, size). */
  choose(name, phase, state, sites, size) {
    const { width } = this;
    const seen = this.activated(state, sites);
    const hidden = this.product(seen, sites.length, width, `${name}_hidden`, width);
    const bias = this.curves[`${name}_hidden_bias`][phase];
    for (let n = 0; n < hidden.length; n++) hidden[n] = activation(hidden[n] + bias[n % width], 7);
    const index = this.product(hidden, sites.length, width, `${name}_index`, size);
    const own = this.curves[`${name}_index_bias`][0];
    return Uint8Array.from(index, (value, n) =>
      Math.max(0, Math.min(63, (value + own[n % size] + 256) >> 9)),
    );
  }

  /** The product of rows and a kernel (inner, columns). */
  product(rows, count, inner, kernel, columns) {
    const mark = this.memory.top;
    const a = this.memory.put(rows);
    const out = this.memory.place(count * columns);
    this.memory.floats(out, count * columns).fill(0);
    this.kernel.multiply(a, this.kernels[kernel], out, count, inner, columns);
    const found = this.memory.floats(out, count * columns).slice();
    this.memory.top = mark;
    return found;
  }

  /** The symbols of one step, table by table. */
  read(tables) {
    const symbols = new Int16Array(tables.length);
    byTable(tables).forEach((where, table) => {
      if (!where.length) return;
      const support = SUPPORT[table];
      const found = this.reader.read(this.tables[table], 2 * support + 2, where.length);
      const far = [];
      found.forEach((value, n) => {
        if (value - support > support) far.push(where[n]);
        else symbols[where[n]] = value - support;
      });
      if (!far.length) return;
      this.reader.read(this.plain, 1 << 17, far.length).forEach((beyond, n) => {
        const size = support + 1 + (beyond >> 1);
        if (size > 32767) throw new RefusedError("a symbol is out of range");
        symbols[far[n]] = beyond & 1 ? -size : size;
      });
    });
    return symbols;
  }

  /** Write the symbols of one step, table by table. */
  write(tables, symbols) {
    byTable(tables).forEach((where, table) => {
      if (!where.length) return;
      const support = SUPPORT[table];
      const far = where.filter((place) => Math.abs(symbols[place]) > support);
      const coded = where.map((place) =>
        Math.abs(symbols[place]) > support ? 2 * support + 1 : symbols[place] + support,
      );
      this.encode(this.tables[table], coded);
      if (!far.length) return;
      const beyond = far.map((place) => {
        const size = Math.abs(symbols[place]) - support - 1;
        return 2 * size + (symbols[place] < 0 ? 1 : 0);
      });
      this.encode(this.plain, beyond);
    });
  }

  encode(table, symbols) {
    const mark = this.memory.top;
    this.kernel.encode(table, this.memory.put(Int32Array.from(symbols)), symbols.length);
    this.memory.top = mark;
  }

  /** Add a 3 x 3 convolution of the symbols' log magnitudes to the states of all cells. */
  update(kernel, state, sites, symbols, size, columns, cells) {
    const features = new Float32Array(symbols.length);
    for (let n = 0; n < symbols.length; n++) {
      features[n] = FEATURE[Math.min(Math.abs(symbols[n]), 4095)];
    }
    this.convolve(kernel, state, sites, features, size, columns, cells);
  }

  /** Add a 3 x 3 convolution of (sites, size) features, zero elsewhere, to the state. */
  convolve(kernel, state, sites, features, size, columns, cells) {
    const { width } = this;
    const mark = this.memory.top;
    const at = this.memory.put(features);
    const change = this.memory.place(cells * width);
    this.memory.floats(change, cells * width).fill(0);
    const touched = new Uint8Array(cells);
    const rows = cells / columns;
    sites.forEach((cell, place) => {
      const own = features.subarray(place * size, (place + 1) * size);
      if (!own.some((value) => value)) return;
      const [row, column] = [Math.floor(cell / columns), cell % columns];
      for (let tap = 0; tap < 9; tap++) {
        const [y, x] = [row + 1 - Math.floor(tap / 3), column + 1 - (tap % 3)];
        if (y < 0 || x < 0 || y >= rows || x >= columns) continue;
        const target = y * columns + x;
        touched[target] = 1;
        const weights = this.kernels[kernel] + 4 * tap * size * width;
        const out = change + 4 * target * width;
        this.kernel.multiply(at + 4 * place * size, weights, out, 1, size, width);
      }
    });
    const changed = this.memory.floats(change, cells * width);
    for (let cell = 0; cell < cells; cell++) {
      if (!touched[cell]) continue;
      for (let n = cell * width; n < (cell + 1) * width; n++) {
        state[n] = Math.max(-LIMIT, Math.min(LIMIT, state[n] + changed[n]));
      }
    }
    this.memory.top = mark;
  }

  /** States of the next level. */
  refine(name, state, mask, columns) {
    const { width } = this;
    const cells = mask.length;
    const sites = [...mask.keys()].filter((cell) => mask[cell]);
    const features = this.activated(state, sites);
    this.convolve(`${name}_mix`, state, sites, features, width, columns, cells);
    const bias = this.curves[`${name}_mix_bias`][0];
    const mixed = state.map((value, n) => activation(value + bias[n % width], 8));
    const wide = this.product(mixed, cells, width, `${name}_up`, 4 * width);
    const own = this.curves[`${name}_up_bias`][0];
    const finer = new Float32Array(4 * cells * width);
    for (let cell = 0; cell < cells; cell++) {
      const [row, column] = [Math.floor(cell / columns), cell % columns];
      for (let child = 0; child < 4; child++) {
        const y = 2 * row + (child >> 1);
        const target = y * 2 * columns + 2 * column + (child & 1);
        for (let n = 0; n < width; n++) {
          const from = child * width + n;
          finer[target * width + n] = wide[cell * 4 * width + from] + own[from];
        }
      }
    }
    return finer;
  }
}

/** What the networks see of a state or a sum: divided by 2^bits, rounded half up, 0 to 127. */
function activation(value, bits) {
  return Math.max(0, Math.min(127, (value + (1 << (bits - 1))) >> bits));
}
