/** NumPy archives (.npz): what `mrdcae export` writes, without pickled objects. */

const TYPES = {
  "|u1": Uint8Array,
  "|i1": Int8Array,
  "<u2": Uint16Array,
  "<i4": Int32Array,
  "<f4": Float32Array,
};

/**
 * The arrays of an archive by name, each a typed array with its `shape`.
 * @param {Uint8Array} bytes of the archive.
 */
export async function readArchive(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length - 22; // of an archive without a comment
  if (end < 0 || view.getUint32(end, true) !== 0x06054b50) throw new Error("expected a .npz file");
  let at = view.getUint32(end + 16, true);
  const arrays = {};
  for (let count = view.getUint16(end + 10, true); count > 0; count--) {
    const [method, size] = [view.getUint16(at + 10, true), view.getUint32(at + 20, true)];
    const [name, extra, note] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
    const local = view.getUint32(at + 42, true);
    const key = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + name));
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const content = bytes.subarray(start, start + size);
    arrays[key.replace(/\.npy$/, "")] = readArray(method ? await inflate(content) : content);
    at += 46 + name + extra + note;
  }
  return arrays;
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The array in the bytes of a .npy file of version 1, in row order. */
function readArray(bytes) {
  const length = bytes[8] | (bytes[9] << 8);
  const head = new TextDecoder().decode(bytes.subarray(10, 10 + length));
  const type = /'descr': '([^']+)'/.exec(head)?.[1];
  if (!(type in TYPES) || !head.includes("'fortran_order': False")) {
    throw new Error(`expected an array of numbers in row order, received ${head.trim()}`);
  }
  const content = bytes.slice(10 + length).buffer;
  const shape = /'shape': \(([^)]*)\)/.exec(head)[1].split(",").filter((s) => s.trim());
  return Object.assign(new TYPES[type](content), { shape: shape.map(Number) });
}
