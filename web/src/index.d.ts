/** The bytes are not a readable `.mrdc` file; the message says why. */
export class RefusedError extends Error {}

/** Whether a file that begins so is a `.mrdc` file. */
export function isMrdc(bytes: Uint8Array): boolean;

/** The header of a file whose sections are whole up to a level, 1 to 3; throws a RefusedError. */
export function parse(
  bytes: Uint8Array,
  level: 1 | 2 | 3,
): Pick<Decoded, "width" | "height" | "quality" | "grey" | "model" | "sizes">;

/** A codec without its networks; see `loadCodec`. */
export interface Codec {
  readonly resolutions: number;
}

/** A tile: its place in patches (top, left, bottom, right), and what it holds. */
export interface Tile {
  box: [number, number, number, number];
  /** Of each level, coarse to fine: (rows, columns, channels). */
  symbols?: Int16Array[];
  /** The bytes of a lossless WebP file. */
  stored?: Uint8Array;
}

/** All but the pixels of a file. */
export interface Decoded {
  width: number;
  height: number;
  /** 0 to 100. */
  quality: number;
  grey: boolean;
  /** 4 bytes that name the codec. */
  model: Uint8Array;
  /** Rows and columns of patches of 32 x 32 pixels. */
  patches: [number, number];
  /** Level 1 to 3 of each patch. */
  routing: Uint8Array;
  /** 1 where a patch goes without filters. */
  unfiltered: Uint8Array;
  /** Transparency, one byte a pixel; colour profile; camera data; what the file was made from. */
  metadata: { alpha?: Uint8Array; icc?: Uint8Array; exif?: Uint8Array; origin?: Uint8Array };
  /** Bytes of the file up to the end of each of the three levels. */
  sizes: [number, number, number];
  tiles: Tile[];
}

/** A picture as a canvas has it: red, green, blue and alpha of each pixel. */
export interface Picture {
  width: number;
  height: number;
  data: Uint8ClampedArray;
}

/** libwebp, from the two modules of the package @jsquash/webp, each instantiated. */
export class Webp {
  constructor(encoder: unknown, decoder: unknown);
  /** Lossless, unless the options of libwebp say otherwise. */
  encode(picture: Picture, options?: Record<string, number>): Uint8Array;
  decode(bytes: Uint8Array): Picture;
}

export interface Options {
  /** Called with the share that is done, from 0 to 1; it may throw to stop. */
  progress?: (share: number) => void;
  /** Stores and reads tiles without loss. Files with such tiles cannot be read without it. */
  webp?: Webp;
}

/** Loads the bytes of context.npz, which `mrdcae export` wrote, and of kernel.wasm. */
export function loadCodec(archive: Uint8Array, wasm: BufferSource): Promise<Codec>;

/** The graphs that `mrdcae export` wrote, run by onnxruntime-web or a runtime like it. */
export class Networks {
  constructor(ort: unknown, sessions: Record<string, unknown>);
  static load(
    ort: unknown,
    graphs: Record<string, Uint8Array>,
    options?: Record<string, unknown>,
  ): Promise<Networks>;
}

/** Reads a file up to a level, 1 to 3; rejects with a RefusedError if it is damaged. */
export function decode(
  codec: Codec,
  bytes: Uint8Array,
  options?: { level?: 1 | 2 | 3 },
): Promise<Decoded>;

/** The pixels of a file: (height, width, 4). */
export function restore(
  codec: Codec,
  networks: Networks,
  found: Decoded,
  options?: Options,
): Promise<Uint8ClampedArray>;

/** The bytes of a `.mrdc` file of this quality, 0 to 100. */
export function compress(
  codec: Codec,
  networks: Networks,
  picture: Picture,
  quality: number,
  options?: Options,
): Promise<Uint8Array>;
