"""A second decoder of `.mrdc` files, written from book/back/format.md and not from the package.

It shares no line with `mrdcae_lite`; a test compares the two, so that the page, the package and
this file say the same. It takes the page word by word and its time.
"""

import hashlib
import io
import json
import struct
import zlib
from bisect import bisect_right
from itertools import product
from math import ceil, exp, floor, log, sqrt
from typing import NamedTuple

import numpy as np
from PIL import Image

COLOURS = np.array([[1, 1, 1] / np.sqrt(3), [1, 0, -1] / np.sqrt(2), [1, -2, 1] / np.sqrt(6)])
SUPPORT = [min(1023, ceil(12 * exp(-3.2 + 0.17 * table)) + 2) for table in range(64)]
PLAIN = range(0, 2**24 + 1, 128)
FEATURE = np.array([min(127, floor(16 * log(1 + size) + 0.5)) for size in range(4096)])
MODULUS = 2**64


class RefusedError(ValueError):
    """The file is not what the page describes."""


class Decoded(NamedTuple):
    """What a file says.

    `symbols` are (rows, columns, channels) of each level, coarse to fine; `unfiltered` says of each
    patch whether it goes without filters; `stored` are the pixels of stored tiles by their first
    row and column.
    """

    width: int
    height: int
    quality: int
    grey: bool
    metadata: dict[str, bytes]
    routing: np.ndarray
    unfiltered: np.ndarray
    symbols: list[np.ndarray]
    stored: dict[tuple[int, int], np.ndarray]


def need(condition, message):
    if not condition:
        raise RefusedError(message)


def opened(codec):
    """The arrays in the bytes of a codec file, and its settings."""
    arrays = dict(np.load(io.BytesIO(codec), allow_pickle=False))
    return arrays, json.loads(arrays["config"].tobytes())


def decode(codec, data):
    """All but the pixels in the bytes of a file, given the bytes of its codec file."""
    arrays, config = opened(codec)
    resolutions = config["resolutions"]
    (width, height, quality, flags, model), sections = container(data)
    need(model == model_id(arrays), "another model")
    unit = unit_of(resolutions)
    rows, columns = spans(height, unit), spans(width, unit)
    tiles = list(product(rows, columns))
    streams = list(zip(*(split(section, len(tiles)) for section in sections[2:]), strict=True))
    metadata = chunks(sections[0], width * height)
    patches = rows[-1][1], columns[-1][1]
    stored, routing, unfiltered = maps(sections[1], patches, (len(rows), len(columns)), flags)
    routing = np.minimum(routing, min(resolutions, 3))
    machine = Machine(arrays, resolutions, quality)
    symbols = [
        np.zeros((patches[0] * 32 // side, patches[1] * 32 // side, sum(groups)), int)
        for side, groups in machine.levels
    ]
    pictures = {}
    for which, parts in enumerate(streams):
        (top, bottom), (left, right) = tiles[which]
        if stored.flat[which]:
            area = min(32 * bottom, height) - 32 * top, min(32 * right, width) - 32 * left
            pictures[32 * top, 32 * left] = stored_pixels(parts[0], area)
            continue
        found = machine.run(routing[top:bottom, left:right], [Coder(part) for part in parts])
        for whole, part, (side, _) in zip(symbols, found, machine.levels, strict=True):
            above, beside = 32 * top // side, 32 * left // side
            whole[above : above + part.shape[0], beside : beside + part.shape[1]] = part
    return Decoded(
        *(width, height, quality, bool(flags & 1)),
        *(metadata, routing, unfiltered.astype(bool), symbols, pictures),
    )


# --- bytes


def varint(data, at):
    number = 0
    for count in range(5):
        need(at + count < len(data), "a number is cut off")
        number |= (data[at + count] & 127) << 7 * count
        if data[at + count] < 128:
            return number, at + count + 1
    raise RefusedError("a number is longer than 5 bytes")


def container(data):
    need(data[:4] == b"\x89MRD", "not a .mrdc file")
    need(len(data) >= 11 and data[4] == 2, "another version, or cut off")
    at, numbers = 11, []
    for _ in range(7):
        number, at = varint(data, at)
        numbers.append(number)
    width, height, *lengths = numbers
    sums = []
    for length in [*lengths, 1]:
        need(at + 4 <= len(data), "the header is cut off")
        sums.append(struct.unpack_from("<I", data, at)[0] if length else 0)
        at += 4 if length else 0
    need(zlib.crc32(data[: at - 4]) == sums.pop(), "the header is damaged")
    quality, flags = data[5:7]
    need(quality <= 100 and flags <= 7, "the quality or the flags")
    need(1 <= width <= 65535 and 1 <= height <= 65535 and width * height <= 10**8, "the size")
    sections = []
    for length, checksum in zip(lengths, sums, strict=True):
        sections.append(data[at : at + length])
        need(len(sections[-1]) == length, "a section is cut off")
        need(zlib.crc32(sections[-1]) == checksum, "a section is damaged")
        at += length
    need(at == len(data), "bytes after the end")
    return (width, height, quality, flags, data[7:11]), sections


def model_id(arrays):
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.name} {array.shape};".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.digest()[:4]


def chunks(section, pixels):
    found, at = {}, 0
    while at < len(section):
        letter = chr(section[at])
        length, at = varint(section, at + 1)
        need(letter in "AIEO" and letter not in found and at + length <= len(section), "a chunk")
        inflater = zlib.decompressobj()
        limit = pixels if letter == "A" else 2**24
        found[letter] = inflater.decompress(section[at : at + length], limit)
        need(inflater.eof and not inflater.unused_data, "a chunk's content")
        at += length
    need(len(found.get("A", bytes(pixels))) == pixels, "the transparency")
    return found


def unit_of(resolutions):
    """Pixels a side that the picture is extended to whole multiples of."""
    return max(32, 4 << resolutions)


def spans(side, unit):
    """First and last patch of the tiles along a side in pixels."""
    each = unit // 32
    patches = -(-side // unit) * each
    step = -(-patches // -(-patches // 32))
    step = -(-step // each) * each
    return [(first, min(first + step, patches)) for first in range(0, patches, step)]


def stored_pixels(stream, area):
    """The pixels of a stored tile, uint8 (rows, columns, 3)."""
    try:
        with Image.open(io.BytesIO(stream), formats=["WEBP"]) as picture:
            need(picture.size == area[::-1], "a stored tile of another size")
            return np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise RefusedError("a stored tile that is none") from error


def split(section, tiles):
    streams, at = [], 0
    for _ in range(tiles - 1):
        length, at = varint(section, at)
        streams.append(section[at : at + length])
        at += length
    need(at <= len(section), "the tiles do not fit their section")
    return [*streams, section[at:]]


# --- the range coder


def edges(counts):
    """Left edges of the symbols' shares of 2**24, and 2**24."""
    free, total, below = 2**24 - len(counts), sum(counts), 0
    found = []
    for symbol, count in enumerate(counts):
        found.append(below * free // total + symbol)
        below += count
    return [*found, 2**24]


class Coder:
    def __init__(self, stream):
        stream += bytes(-len(stream) % 4)
        self.words = iter(struct.unpack(f">{len(stream) // 4}I", stream))
        self.lower, self.range = 0, MODULUS - 1
        self.point = next(self.words, 0) << 32 | next(self.words, 0)

    def symbol(self, shares):
        scale = self.range >> 24
        quantile = (self.point - self.lower) % MODULUS // scale
        need(quantile < 2**24, "a stream of impossible data")
        symbol = bisect_right(shares, quantile) - 1
        self.lower = (self.lower + scale * shares[symbol]) % MODULUS
        self.range = scale * (shares[symbol + 1] - shares[symbol])
        if self.range < 2**32:
            self.range <<= 32
            self.lower = (self.lower << 32) % MODULUS
            self.point = (self.point << 32) % MODULUS | next(self.words, 0)
        return symbol


def maps(section, patches, tiles, flags):
    """Stored tiles, levels of patches, patches without filters."""
    coder = Coder(section)
    stored = values(coder, tiles, 2) if flags & 2 else np.zeros(tiles, int)
    levels = values(coder, patches, 3) + 1
    unfiltered = values(coder, patches, 2) if flags & 4 else np.zeros(patches, int)
    return stored, levels, unfiltered


def values(coder, shape, kinds):
    counts, found = {}, np.full((shape[0] + 1, shape[1] + 1), -1)
    for row in range(1, found.shape[0]):
        for column in range(1, found.shape[1]):
            context = found[row, column - 1], found[row - 1, column]
            seen = counts.setdefault(context, [1] * kinds)
            symbol = coder.symbol(edges(seen))
            seen[symbol] += 1
            found[row, column] = symbol
    return found[1:, 1:]


# --- the context machine


def activation(x, bits):
    return np.clip((x + (1 << bits - 1)) >> bits, 0, 127)


def convolve(grid, kernel):
    rows, columns, _ = grid.shape
    wide = np.pad(grid, ((1, 1), (1, 1), (0, 0)))
    taps = np.ndindex(3, 3)
    return sum(wide[v : v + rows, h : h + columns] @ kernel[v, h] for v, h in taps)


def section_of(level, resolutions):
    """0, 1 or 2: the section low, medium or high that a level is written to."""
    return max(0, level - max(resolutions - 2, 1) + 1)


class Machine:
    def __init__(self, arrays, resolutions, quality):
        """`levels` holds, coarse to fine, pixels along a cell and the sizes of the groups."""
        first = 4 << resolutions
        self.levels = [(first, (4, 12, 48, 32, 96) if first >= 32 else (16, 48, 32, 96))]
        for number in range(1, resolutions):
            side = first >> number
            self.levels.append((side, (8, 16, 24, 32, 64) if side >= 32 else (24, 24, 96)))
        self.sections = [section_of(number, resolutions) for number in range(resolutions)]
        packed, self.tables = arrays["tables"].tolist(), []
        for support in SUPPORT:
            self.tables.append(edges(packed[: 2 * support + 2]))
            del packed[: 2 * support + 2]
        self.weights = {}
        for name, array in arrays.items():
            kind, _, name = name.partition("/")
            if kind == "prior":
                at_quality = name == "start" or name.endswith("_bias")
                self.weights[name] = (array[..., quality, :] if at_quality else array).astype(int)

    def run(self, routing, coders):
        """Symbols of all levels of a tile."""
        rows, columns = (32 * patches // self.levels[0][0] for patches in routing.shape)
        state = np.tile(self.weights["start"], (rows, columns, 1))
        result, mask = [], None
        for level, (side, groups) in enumerate(self.levels):
            if level > 0:
                state = self.refine(f"level{level - 1}", state, mask)
            on = routing > self.sections[level]
            mask = on[::2, ::2] if side == 64 else np.kron(on, np.ones((32 // side,) * 2, bool))
            found = []
            for group, size in enumerate(groups):
                name = f"level{level}_group{group}"
                symbols = np.zeros((*mask.shape, size), int)
                for phase in (0, 1):
                    sites = mask & (np.indices(mask.shape).sum(axis=0) % 2 == phase)
                    tables = self.choose(name, phase, state[sites])
                    symbols[sites] = self.read(coders[self.sections[level]], tables)
                    seen = FEATURE[np.minimum(abs(symbols), 4095)] * sites[..., None]
                    state = self.add(state, convolve(seen, self.weights[f"{name}_update"]))
                found.append(symbols)
            result.append(np.concatenate(found, axis=-1))
        return result

    @staticmethod
    def add(state, change):
        return np.clip(state + change, -(2**22), 2**22)

    def choose(self, name, phase, state):
        """Table of each symbol, (sites, channels)."""
        hidden = activation(state, 8) @ self.weights[f"{name}_hidden"]
        hidden = activation(hidden + self.weights[f"{name}_hidden_bias"][phase], 7)
        index = hidden @ self.weights[f"{name}_index"] + self.weights[f"{name}_index_bias"]
        return np.clip((index + 256) >> 9, 0, 63)

    def refine(self, name, state, mask):
        """States of the next level."""
        seen = activation(state, 8) * mask[..., None]
        state = self.add(state, convolve(seen, self.weights[f"{name}_mix"]))
        state = state + self.weights[f"{name}_mix_bias"]
        wide = activation(state, 8) @ self.weights[f"{name}_up"] + self.weights[f"{name}_up_bias"]
        rows, columns = mask.shape
        children = wide.reshape(rows, columns, 2, 2, -1).swapaxes(1, 2)
        return children.reshape(2 * rows, 2 * columns, -1)

    def read(self, coder, tables):
        """The symbols of one call, table by table."""
        symbols, flat = np.zeros(tables.size, int), tables.ravel()
        for table in range(64):
            places, support = np.flatnonzero(flat == table), SUPPORT[table]
            values = [coder.symbol(self.tables[table]) - support for _ in places]
            for number, value in enumerate(values):
                if value > support:
                    beyond, negative = divmod(coder.symbol(PLAIN), 2)
                    values[number] = (support + 1 + beyond) * (-1 if negative else 1)
            need(all(abs(value) <= 32767 for value in values), "a symbol out of range")
            symbols[places] = values
        return symbols.reshape(tables.shape)


# --- pixels


def pixels(codec, file):
    """The picture, uint8 (height, width, 3), of what `decode` returned."""
    arrays, config = opened(codec)
    weights = {
        name.removeprefix("transforms/"): array.astype(float)
        for name, array in arrays.items()
        if name.startswith("transforms/")
    }
    t, resolutions = file.quality / 50 - 1, config["resolutions"]
    features = np.array([1, t, 2 * t**2 - 1, 4 * t**3 - 3 * t])
    step = 200 / 255 * (5 / 200) ** (file.quality / 100)
    picture = synthesis(file.symbols, weights, features, step)
    for (top, left), stored in file.stored.items():
        bottom, right = (
            -(-side // unit_of(resolutions)) * unit_of(resolutions) for side in stored.shape[:2]
        )
        wide = np.pad(
            stored, ((0, bottom - len(stored)), (0, right - stored.shape[1]), (0, 0)), "edge"
        )
        picture[top : top + bottom, left : left + right] = wide / 255
    plain = picture.copy()
    filters(picture, resolutions, config, weights, features, step)
    off = np.kron(file.unfiltered, np.ones((32, 32), bool))
    for (top, left), stored in file.stored.items():
        off[top : top + len(stored), left : left + stored.shape[1]] = True
    picture[off] = plain[off]
    if file.grey:
        picture[:] = picture.mean(axis=-1, keepdims=True)
    picture = np.clip(np.rint(255 * picture), 0, 255).astype(np.uint8)
    return picture[: file.height, : file.width]


def below(weights, name):
    """The arrays whose names start with `name/`, without that."""
    start = f"{name}/"
    return {k.removeprefix(start): w for k, w in weights.items() if k.startswith(start)}


def synthesis(symbols, weights, features, step):
    """The picture before the filters."""
    last = len(symbols) - 1
    scaled = []
    for level, k in enumerate(symbols):
        gain = np.exp(features @ weights[f"gain{level}/curve"]) * contrast(scaled, last, step)
        shift = features @ weights[f"reconstruction{level}/curve"]
        scaled.append((k - np.sign(k) * shift) / gain)
    grid = scaled[0]
    for scale in range(last, -1, -1):
        order = channels(coarsest=scale == last)
        kernel = np.linalg.inv(basis(scale, order).T + 0.1 * weights[f"analysis{scale}/offset"])
        if scale > 0:
            grid = np.concatenate([spread(grid @ kernel, 2), scaled[last - scale + 1]], axis=-1)
    return spread(grid @ kernel * step, 8) + 0.5


def contrast(known, last, step):
    """The contrast gain of the level after the `known` ones, cell by cell."""
    if section_of(len(known), last + 1) == 0:
        return 1
    cells = known[0]
    for level, numbers in enumerate(known):
        if level > 0:
            cells = np.concatenate([cells, numbers], axis=-1)
        cells = spread(cells @ basis(last - level, channels(coarsest=level == 0)), 2)
    side = 8 << last >> len(known)
    varies = [n for n, (v, h, colour) in enumerate(np.ndindex(4, 4, 3)) if colour == 0 and v + h]
    variance = np.sum((step * cells[..., varies]) ** 2, axis=-1, keepdims=True) / (3 * side**2)
    return ((variance + (4 / 255) ** 2) / 0.04**2) ** -0.15


def filters(picture, resolutions, config, weights, features, step):
    """Deblocking and refinement of the whole picture, where it is."""
    largest = 4 << resolutions
    for number in range(resolutions if config["deblocking"] else 0):
        of_kind = below(weights, f"deblocking{number}")
        first, period = (
            (largest, largest) if number == 0 else (largest >> number, 2 * largest >> number)
        )
        for turned in (picture, picture.swapaxes(0, 1)):
            for row in range(first, len(turned), period):
                deblock(turned[row - 4 : row + 4], features, step, of_kind)
    if config["refinement"]:
        refine(picture, features, step, below(weights, "refinement"))


def refine(picture, features, step, weights):
    """Correct all pixels where they are, by what their cells of 4 x 4 and those around show."""
    cells = gather(picture, 4).reshape(len(picture) // 4, picture.shape[1] // 4, 16, 3)
    rows, columns = cells.shape[:2]
    means = cells.mean(axis=2)
    wide = np.pad(means, ((1, 1), (1, 1), (0, 0)), "edge")
    beside = wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:]
    shown = [(cells - means[:, :, None]).reshape(rows, columns, 48), *(m - means for m in beside)]
    x = logarithmic(np.concatenate(shown, axis=-1), step)
    u, w = np.split(features @ weights["film/kernel"] + weights["film/bias"], 2)
    period = len(weights["place"])
    place = weights["place"][np.ix_(np.arange(rows) % period, np.arange(columns) % period)]
    h = np.maximum(0, x @ (weights["enter/kernel"] * (1 + u)) + place + w)
    h = np.maximum(0, convolve(h, weights["mix/kernel"]) + weights["mix/bias"])
    change = step * (h @ weights["leave/kernel"] + weights["leave/bias"])
    picture += spread(change, 4)


def logarithmic(x, step):
    return np.sign(x) * np.log1p(abs(4 * x / step))


def deblock(strip, features, step, weights):
    """Correct the 8 rows around a border where they are."""
    shown = np.swapaxes(strip - (strip[3] + strip[4]) / 2, 0, 1).reshape(strip.shape[1], 24)
    shown = np.pad(logarithmic(shown, step), ((1, 1), (0, 0)))
    taps = [shown[n : n + strip.shape[1]] @ weights["enter/kernel"][0, n] for n in range(3)]
    bias = weights["enter/bias"] + features @ weights["film/kernel"] + weights["film/bias"]
    h = np.maximum(0, sum(taps) + bias)
    h = np.maximum(0, h @ weights["mix/kernel"] + weights["mix/bias"])
    change = step * (h @ weights["leave/kernel"] + weights["leave/bias"])
    strip += np.swapaxes(change.reshape(-1, 8, 3), 0, 1)


def channels(*, coarsest):
    """(v, h, colour) of the 192 channels of a scale."""
    every = list(np.ndindex(8, 8, 3))
    carried = [] if coarsest else [(v, h, c) for v, h, c in every if v < 4 and h < 4]
    others = [channel for channel in every if channel not in carried]
    return carried + sorted(others, key=lambda b: (b[2] > 0, b[0] + b[1], b[0], b[2]))


def dct(size):
    f, i = np.ogrid[:size, :size]
    matrix = sqrt(2 / size) * np.cos(np.pi * (2 * i + 1) * f / (2 * size))
    matrix[0] /= sqrt(2)
    return matrix


def basis(scale, order):
    d = dct(8)
    if scale == 0:
        rows = [np.einsum("y,x,k->yxk", d[v], d[h], COLOURS[c]) for v, h, c in order]
    else:
        m = np.einsum("vip,fp->vif", d.reshape(8, 2, 4), dct(4))
        rows = [np.einsum("iv,jh,k->ijvhk", m[v], m[h], np.eye(3)[c]) for v, h, c in order]
    return np.array([row.ravel() for row in rows])


def gather(grid, factor):
    """Each factor x factor cells, in raster order, as the row of one."""
    rows, columns, size = grid.shape
    cells = grid.reshape(rows // factor, factor, columns // factor, factor, size).swapaxes(1, 2)
    return cells.reshape(rows // factor, columns // factor, -1)


def spread(grid, factor):
    """Each cell's row as factor x factor cells in raster order."""
    rows, columns, size = grid.shape
    cells = grid.reshape(rows, columns, factor, factor, size // factor**2).swapaxes(1, 2)
    return cells.reshape(rows * factor, columns * factor, -1)
