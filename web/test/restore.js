/**
 * node restore.js GRAPHS FILE.mrdc OUT [FILE.mrdc OUT ...]
 *
 * Writes the pixels of each file, four bytes each, to OUT; GRAPHS is a folder that `mrdcae export`
 * wrote. Prints the seconds that each took.
 */

import { readFile, writeFile } from "node:fs/promises";
import { decode, restore } from "../src/index.js";
import { codecAndNetworks, webp } from "./graphs.js";

const [folder, ...paths] = process.argv.slice(2);
const { codec, networks } = await codecAndNetworks(folder);
const options = { webp: await webp() };
for (let number = 0; number < paths.length; number += 2) {
  const bytes = new Uint8Array(await readFile(paths[number]));
  const started = performance.now();
  const found = await decode(codec, bytes);
  const symbols = performance.now();
  const shares = [];
  const progress = (share) => shares.push(share);
  const pixels = await restore(codec, networks, found, { ...options, progress });
  await writeFile(paths[number + 1], pixels);
  const [read, all] = [symbols - started, performance.now() - started].map((ms) => ms / 1000);
  console.log(JSON.stringify({ read, all, shares }));
}
