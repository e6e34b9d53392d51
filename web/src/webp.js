/** Lossless WebP, in which tiles are stored that take fewer bytes that way: drawings and text. */

import { need } from "./container.js";

const EQUAL_NEIGHBOURS = 0.5; // share of pixels equal to the one beside them in a drawing
const FEW_COLOURS = 64; // in the rows looked at
const SAMPLE = 4; // every so many rows
const OPTIONS = { // of libwebp, all as they are by default but the first two
  lossless: 1, quality: 75, method: 4, target_size: 0, target_PSNR: 0, sns_strength: 50,
  filter_strength: 60, filter_sharpness: 0, filter_type: 1, partitions: 0, segments: 4, pass: 1,
  show_compressed: 0, preprocessing: 0, autofilter: 0, partition_limit: 0, alpha_compression: 1,
  alpha_filtering: 1, alpha_quality: 100, exact: 0, image_hint: 0, emulate_jpeg_size: 0,
  thread_level: 0, low_memory: 0, near_lossless: 100, use_delta_palette: 0, use_sharp_yuv: 0,
}; // prettier-ignore

/** libwebp, from the two modules of the package @jsquash/webp, each instantiated. */
export class Webp {
  constructor(encoder, decoder) {
    this.encoder = encoder;
    this.decoder = decoder;
  }

  /** The bytes of a picture {width, height, data}; lossless unless the options say otherwise. */
  encode({ width, height, data }, options = {}) {
    return this.encoder.encode(data, width, height, { ...OPTIONS, ...options }).slice();
  }

  /** The picture in a stored tile; only lossless files without transparency are read. */
  decode(bytes) {
    need(isSimple(bytes), "a stored tile holds impossible data");
    const picture = this.decoder.decode(bytes);
    need(picture, "a stored tile holds impossible data");
    return picture;
  }
}

/** Width and height that a lossless WebP file claims. */
export function sizeOf(bytes) {
  need(isSimple(bytes), "a stored tile holds impossible data");
  const packed = new DataView(bytes.buffer, bytes.byteOffset).getUint32(21, true);
  return [(packed & 0x3fff) + 1, ((packed >>> 14) & 0x3fff) + 1];
}

/** Whether these are the bytes of one chunk without loss and without transparency. */
function isSimple(bytes) {
  if (bytes.length < 25) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
  const length = view.getUint32(16, true);
  return (
    text(0, 4) === "RIFF" &&
    text(8, 8) === "WEBPVP8L" &&
    bytes[20] === 0x2f &&
    view.getUint32(4, true) === bytes.length - 8 &&
    length + (length % 2) === bytes.length - 20 &&
    view.getUint32(21, true) >>> 28 === 0
  );
}

/** Whether storing a picture without loss is worth a try: a guess from some of its rows. */
export function looksDrawn({ width, height, data }) {
  const pixels = new Uint32Array(data.buffer, data.byteOffset, width * height);
  const colours = new Set();
  let [equal, pairs] = [0, 0];
  for (let row = 0; row < height; row += SAMPLE) {
    for (let at = row * width; at < (row + 1) * width; at++) {
      colours.add(pixels[at]);
      if (at === row * width) continue;
      pairs++;
      if (pixels[at] === pixels[at - 1]) equal++;
    }
  }
  return colours.size <= FEW_COLOURS || (pairs > 0 && equal / pairs >= EQUAL_NEIGHBOURS);
}
