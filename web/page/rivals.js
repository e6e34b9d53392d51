/** JPEG, WebP and AVIF files of a given size, for comparison. */

const CLOSE = 0.003; // share of the wished size that is near enough to stop
const JPEG = { // of mozjpeg, all as they are by default but the qualities
  baseline: false, arithmetic: false, progressive: true, optimize_coding: true, smoothing: 0,
  color_space: 3, quant_table: 3, trellis_multipass: false, trellis_opt_zero: false,
  trellis_opt_table: false, trellis_loops: 1, auto_subsample: true, chroma_subsample: 2,
  separate_chroma_quality: false, chroma_quality: 75,
}; // prettier-ignore

/**
 * The JPEG file of mozjpeg that is nearest to a size. As its qualities are whole numbers, that of
 * the colour differences is set on its own where the steps are too wide.
 * @param encoder the instantiated module of @jsquash/jpeg.
 * @param progress is called with the share that is done.
 */
export async function jpegOf(encoder, { width, height, data }, size, progress) {
  const encode = (quality, chroma) => {
    const own = { quality, separate_chroma_quality: true, chroma_quality: chroma };
    const options = { ...JPEG, quality, ...(chroma === undefined ? {} : own) };
    return encoder.encode(data, width, height, options).slice();
  };
  const coarse = await nearest(encode, [0, 100], 1, size, (share) => progress(share / 2));
  if (isClose(coarse.bytes, size)) return coarse;
  const below = coarse.bytes.length > size && coarse.setting > 0 ? 1 : 0;
  const quality = coarse.setting - below;
  const fine = await nearest((chroma) => encode(quality, chroma), [0, 100], 1, size, (share) =>
    progress(0.5 + share / 2),
  );
  const found = better(coarse, fine, size);
  return found === fine ? { bytes: fine.bytes, setting: quality } : coarse;
}

/** The WebP file nearest to a size. */
export function webpOf(webp, picture, size, progress) {
  const encode = (quality) => webp.encode(picture, { lossless: 0, quality });
  return nearest(encode, [0, 100], 0, size, progress);
}

/** The AVIF file of the browser itself nearest to a size; rejects if it writes none. */
export function avifOf(canvas, size, progress) {
  const encode = async (quality) => {
    const blob = await canvas.convertToBlob({ type: "image/avif", quality: quality / 100 });
    if (blob.type !== "image/avif") throw new Error("this browser does not write AVIF files");
    return new Uint8Array(await blob.arrayBuffer());
  };
  return nearest(encode, [0, 100], 0, size, progress);
}

const isClose = (bytes, size) => Math.abs(bytes.length - size) <= CLOSE * size;

function better(first, second, size) {
  const distance = ({ bytes }) => Math.abs(bytes.length - size);
  return distance(second) < distance(first) ? second : first;
}

/** Halves the range of a setting until the file is close enough, or the range is one `step`. */
async function nearest(encode, [low, high], step, size, progress) {
  const rounds = step ? 8 : 14;
  let best = null;
  for (let round = 0; round < rounds && low <= high; round++) {
    const setting = step ? Math.round((low + high) / 2) : (low + high) / 2;
    const found = { bytes: await encode(setting), setting };
    best = best ? better(best, found, size) : found;
    progress((round + 1) / rounds);
    if (isClose(found.bytes, size)) break;
    if (found.bytes.length > size) high = setting - step;
    else low = setting + step;
  }
  return best;
}
