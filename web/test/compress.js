/**
 * node compress.js GRAPHS WIDTH HEIGHT QUALITY PIXELS OUT.mrdc [WIDTH HEIGHT QUALITY PIXELS OUT ...]
 *
 * Compresses raw pixels, four bytes each; GRAPHS is a folder that `mrdcae export` wrote. Prints the
 * seconds that each took.
 */

import { readFile, writeFile } from "node:fs/promises";
import { compress } from "../src/index.js";
import { codecAndNetworks, webp } from "./graphs.js";

const [folder, ...rest] = process.argv.slice(2);
const { codec, networks } = await codecAndNetworks(folder);
const options = { webp: await webp() };
for (let at = 0; at < rest.length; at += 5) {
  const [width, height, quality] = rest.slice(at, at + 3).map(Number);
  const data = new Uint8ClampedArray(await readFile(rest[at + 3]));
  const started = performance.now();
  const shares = [];
  const progress = (share) => shares.push(share);
  const picture = { width, height, data };
  const file = await compress(codec, networks, picture, quality, { ...options, progress });
  await writeFile(rest[at + 4], file);
  console.log(JSON.stringify({ all: (performance.now() - started) / 1000, shares }));
}
