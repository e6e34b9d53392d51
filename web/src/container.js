/** The container of `.mrdc` files, as book/back/format.md describes it. */

const MAGIC = [0x89, 0x4d, 0x52, 0x44];
const MOST_PIXELS = 100_000_000;

/** The bytes are not a readable `.mrdc` file; the message says why. */
export class RefusedError extends Error {}

/** Whether a file that begins so is a .mrdc file. */
export const isMrdc = (bytes) => MAGIC.every((byte, at) => bytes[at] === byte);

/** Throw a RefusedError unless the condition holds. */
export function need(condition, message) {
  if (!condition) throw new RefusedError(message);
}

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** CRC-32 of bytes, an unsigned number. */
export function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}

/** The base-128 number at a place, and the place after it. */
export function varint(bytes, at) {
  let number = 0;
  for (let count = 0; count < 5; count++) {
    need(at + count < bytes.length, "a number is cut off");
    number += (bytes[at + count] & 127) * 2 ** (7 * count);
    if (bytes[at + count] < 128) return [number, at + count + 1];
  }
  throw new RefusedError("a number is longer than 5 bytes");
}

/**
 * Header and sections of a file, all checksums verified, and `sizes`, its bytes up to each level.
 * @param {Uint8Array} bytes of the file.
 * @param {number} level 1 to 3: the sections of higher levels may be missing or cut off.
 */
export function parse(bytes, level) {
  need(isMrdc(bytes), "expected a .mrdc file");
  need(bytes.length >= 11, "the header is cut off");
  need(bytes[4] === 2, `expected format version 2, received ${bytes[4]}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [quality, flags] = [bytes[5], bytes[6]];
  let at = 11;
  const numbers = [];
  for (let count = 0; count < 7; count++) {
    const [number, after] = varint(bytes, at);
    numbers.push(number);
    at = after;
  }
  const [width, height, ...lengths] = numbers;
  const sums = [...lengths, 1].map((length) => {
    if (!length) return 0;
    need(at + 4 <= bytes.length, "the header is cut off");
    at += 4;
    return view.getUint32(at - 4, true);
  });
  need(crc32(bytes.subarray(0, at - 4)) === sums.pop(), "the header is damaged");
  need(quality <= 100 && flags <= 7, "an impossible quality, or unknown flags");
  const sides = [width, height].every((side) => side >= 1 && side <= 65535);
  need(sides && width * height <= MOST_PIXELS, `an impossible size of ${width} x ${height}`);
  const sizes = [3, 4, 5].map((end) =>
    lengths.slice(0, end).reduce((size, length) => size + length, at),
  );
  const sections = lengths.map((length, number) => {
    const section = bytes.subarray(at, at + length);
    if (number >= level + 2) {
      at += section.length;
      return new Uint8Array(0);
    }
    need(section.length === length, "the file is cut off");
    need(!length || crc32(section) === sums[number], "a section does not match its checksum");
    at += length;
    return section;
  });
  need(at === bytes.length, "bytes follow the last section");
  const [grey, stored, unfiltered] = [1, 2, 4].map((flag) => (flags & flag) !== 0);
  const model = bytes.slice(7, 11);
  return { width, height, quality, model, grey, stored, unfiltered, sections, sizes };
}

/** The streams of the tiles in a level section. */
export function split(section, tiles) {
  const streams = [];
  let at = 0;
  for (let tile = 1; tile < tiles; tile++) {
    const [length, after] = varint(section, at);
    at = after + length;
    streams.push(section.subarray(after, at));
  }
  need(at <= section.length, "the tiles do not fit into their section");
  return [...streams, section.subarray(at)];
}

/** Pixels a side that a picture is extended to whole multiples of. */
export const unitOf = (resolutions) => Math.max(32, 4 << resolutions);

/** First and last patch of the tiles along a side in pixels. */
export function spans(side, unit) {
  const each = unit / 32;
  const patches = Math.ceil(side / unit) * each;
  const step = Math.ceil(Math.ceil(patches / Math.ceil(patches / 32)) / each) * each;
  const found = [];
  for (let first = 0; first < patches; first += step) {
    found.push([first, Math.min(first + step, patches)]);
  }
  return found;
}

/** The base-128 encoding of a number. */
export function writeVarint(number) {
  const bytes = [];
  for (; number > 127; number = Math.floor(number / 128)) bytes.push((number & 127) | 128);
  return [...bytes, number];
}

/** A level section from the streams of its tiles. */
export function join(streams) {
  return Uint8Array.from(
    streams.flatMap((stream, tile) =>
      tile < streams.length - 1 ? [...writeVarint(stream.length), ...stream] : [...stream],
    ),
  );
}

/**
 * The bytes of a file.
 * @param header its width, height, quality, model (4 bytes) and flags: grey, stored, unfiltered.
 * @param {Uint8Array[]} sections metadata, maps, low, medium, high.
 */
export function pack({ width, height, quality, model, ...flags }, sections) {
  const bits = (flags.grey ? 1 : 0) | (flags.stored ? 2 : 0) | (flags.unfiltered ? 4 : 0);
  const little = (number) => [0, 8, 16, 24].map((bits) => (number >>> bits) & 255);
  const lengths = sections.map((section) => section.length);
  const head = [...MAGIC, 2, quality, bits, ...model];
  head.push(...[width, height, ...lengths].flatMap(writeVarint));
  for (const section of sections) if (section.length) head.push(...little(crc32(section)));
  head.push(...little(crc32(head)));
  const whole = new Uint8Array(head.length + lengths.reduce((sum, length) => sum + length, 0));
  whole.set(head);
  let at = head.length;
  for (const section of sections) {
    whole.set(section, at);
    at += section.length;
  }
  return whole;
}
