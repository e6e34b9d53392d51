/** The metadata section of a file: transparency, colour profile and camera data. */

import { need, varint, writeVarint } from "./container.js";

const LARGEST = 1 << 24; // bytes of a profile or of camera data
const LETTERS = { alpha: "A", icc: "I", exif: "E", origin: "O" };

/**
 * The section's bytes, from `alpha`, one byte a pixel, and `icc` and `exif`, bytes; each may be
 * missing.
 * @param {number} width of the picture.
 */
export async function packMetadata({ alpha, icc, exif }, width) {
  const parts = [];
  const contents = { alpha: alpha && differences(alpha, width), icc, exif };
  for (const [name, content] of Object.entries(contents)) {
    if (!content?.length) continue;
    const payload = await transformed(content, new CompressionStream("deflate"));
    parts.push(Uint8Array.of(LETTERS[name].charCodeAt(0), ...writeVarint(payload.length)), payload);
  }
  return joined(parts);
}

/** Inverse of `packMetadata`; also `origin`, which names what the file was made from. */
export async function readMetadata(section, width, height) {
  const found = {};
  let at = 0;
  while (at < section.length) {
    const letter = String.fromCharCode(section[at]);
    const name = Object.keys(LETTERS).find((key) => LETTERS[key] === letter);
    const [length, start] = varint(section, at + 1);
    at = start + length;
    const possible = name && !(name in found) && at <= section.length;
    need(possible, "the metadata section holds an impossible chunk");
    const limit = name === "alpha" ? width * height : LARGEST;
    found[name] = await inflated(section.subarray(start, at), limit);
  }
  if (found.alpha) {
    need(found.alpha.length === width * height, "transparency of another size");
    for (let n = width; n < found.alpha.length; n++) found.alpha[n] += found.alpha[n - width];
  }
  return found;
}

/** Each row as its difference to the one above, modulo 256. */
function differences(alpha, width) {
  return alpha.map((value, at) => value - (at < width ? 0 : alpha[at - width]));
}

const joined = async (parts) => new Uint8Array(await new Blob(parts).arrayBuffer());

/** Decompress at most so many bytes. */
async function inflated(payload, limit) {
  const parts = [];
  let size = 0;
  const reader = streamed(payload, new DecompressionStream("deflate")).getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => need(false, "damaged metadata"));
    if (done) return joined(parts);
    size += value.length;
    need(size <= limit, `metadata unpack to more than ${limit} bytes`);
    parts.push(value);
  }
}

const streamed = (bytes, transform) => new Blob([bytes]).stream().pipeThrough(transform);

async function transformed(bytes, transform) {
  return new Uint8Array(await new Response(streamed(bytes, transform)).arrayBuffer());
}
