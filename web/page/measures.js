/** What two pictures have in common: PSNR and SSIM, as the package measures them. */

const [SIGMA, RADIUS] = [1.5, 5]; // of the window
const [C1, C2] = [(0.01 * 255) ** 2, (0.03 * 255) ** 2];

/**
 * Peak signal-to-noise ratio in dB of the colours of two pictures; infinite if they are equal.
 * @param first, second {width, height, data} of one size, data as a canvas has them.
 */
export function psnr(first, second) {
  let sum = 0;
  for (let at = 0; at < first.data.length; at++) {
    if (at % 4 < 3) sum += (first.data[at] - second.data[at]) ** 2;
  }
  return 10 * Math.log10((255 ** 2 * (3 * first.data.length)) / 4 / sum);
}

/**
 * Structural similarity (Wang et al. 2004, eq. 13), mean over the three colours, Gaussian windows of
 * 11 x 11 pixels wholly inside the picture; null if a side is shorter than that.
 */
export function ssim(first, second) {
  const { width, height } = first;
  const side = 2 * RADIUS + 1;
  if (width < side || height < side) return null;
  const weights = Float64Array.from({ length: side }, (_, n) =>
    Math.exp(-((n - RADIUS) ** 2) / (2 * SIGMA ** 2)),
  );
  const total = weights.reduce((sum, weight) => sum + weight);
  weights.forEach((weight, n) => (weights[n] = weight / total));
  const columns = 3 * (width - side + 1);
  const rows = Array.from({ length: side }, () => new Float64Array(5 * columns));
  const mean = new Float64Array(5 * columns);
  let sum = 0;
  for (let row = 0; row < height; row++) {
    moments(first.data, second.data, row * width, weights, rows[row % side], columns);
    if (row < side - 1) continue;
    mean.fill(0);
    for (let n = 0; n < side; n++) {
      const part = rows[(row - side + 1 + n) % side];
      for (let at = 0; at < mean.length; at++) mean[at] += weights[n] * part[at];
    }
    for (let at = 0; at < columns; at++) sum += similarity(mean, at, columns);
  }
  return sum / columns / (height - side + 1);
}

/** Weighted means along a row of x, y, x^2, y^2 and xy, each for all windows and colours. */
function moments(first, second, start, weights, found, columns) {
  found.fill(0);
  for (let at = 0; at < columns; at++) {
    const pixel = Math.floor(at / 3);
    for (let n = 0; n < weights.length; n++) {
      const place = 4 * (start + pixel + n) + (at % 3);
      const [x, y, weight] = [first[place], second[place], weights[n]];
      found[at] += weight * x;
      found[columns + at] += weight * y;
      found[2 * columns + at] += weight * x * x;
      found[3 * columns + at] += weight * y * y;
      found[4 * columns + at] += weight * x * y;
    }
  }
}

function similarity(mean, at, columns) {
  const [x, y] = [mean[at], mean[columns + at]];
  const xx = mean[2 * columns + at] - x * x;
  const yy = mean[3 * columns + at] - y * y;
  const xy = mean[4 * columns + at] - x * y;
  return ((2 * x * y + C1) * (2 * xy + C2)) / ((x * x + y * y + C1) * (xx + yy + C2));
}
