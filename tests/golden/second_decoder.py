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
from math import ceil, exp, floor, log, sqrt
from typing import NamedTuple

import numpy as np

COLOURS = np.array([[1, 1, 1] / np.sqrt(3), [1, 0, -1] / np.sqrt(2), [1, -2, 1] / np.sqrt(6)])
SUPPORT = [min(1023, ceil(12 * exp(-3.2 + 0.17 * table)) + 2) for table in range(64)]
PLAIN = range(0, 2**24 + 1, 128)
FEATURE = np.array([min(127, floor(16 * log(1 + size) + 0.5)) for size in range(4096)])
MODULUS = 2**64


class RefusedError(ValueError):
    """The file is not what the page describes."""


class Decoded(NamedTuple):
    """What a file says: `symbols` are (rows, columns, channels) of each level, coarse to fine."""

    width: int
    height: int
    quality: int
    grey: bool
    metadata: dict[str, bytes]
    routing: np.ndarray
    symbols: list[np.ndarray]


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
    (width, height, quality, grey, model), sections = container(data)
    need(model == model_id(arrays), "another model")
    tiles = [(top, left) for top in spans(height) for left in spans(width)]
    streams = list(zip(*(split(section, len(tiles)) for section in sections[2:]), strict=True))
    metadata = chunks(sections[0], width * height)
    routing = np.minimum(routing_map(sections[1], height, width), config["resolutions"])
    machine = Machine(arrays, config["resolutions"], quality)
    symbols = [
        np.zeros((*(np.array(routing.shape) * scale), sum(groups)), int)
        for scale, groups in machine.levels
    ]
    for ((top, bottom), (left, right)), parts in zip(tiles, streams, strict=True):
        found = machine.run(routing[top:bottom, left:right], [Coder(part) for part in parts])
        for whole, part, (scale, _) in zip(symbols, found, machine.levels, strict=True):
            whole[top * scale : bottom * scale, left * scale : right * scale] = part
    return Decoded(width, height, quality, grey, metadata, routing, symbols)


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
    need(len(data) >= 10 and data[4] == 1, "another version, or cut off")
    at, numbers = 10, []
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
    grey, quality = divmod(data[5], 128)
    need(quality <= 100, "the quality")
    need(1 <= width <= 65535 and 1 <= height <= 65535 and width * height <= 10**8, "the size")
    sections = []
    for length, checksum in zip(lengths, sums, strict=True):
        sections.append(data[at : at + length])
        need(len(sections[-1]) == length, "a section is cut off")
        need(zlib.crc32(sections[-1]) == checksum, "a section is damaged")
        at += length
    need(at == len(data), "bytes after the end")
    return (width, height, quality, grey == 1, data[6:10]), sections


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
        need(letter in "AIE" and letter not in found and at + length <= len(section), "a chunk")
        inflater = zlib.decompressobj()
        limit = pixels if letter == "A" else 2**24
        found[letter] = inflater.decompress(section[at : at + length], limit)
        need(inflater.eof and not inflater.unused_data, "a chunk's content")
        at += length
    need(len(found.get("A", bytes(pixels))) == pixels, "the transparency")
    return found


def spans(side):
    """First and last patch of the tiles along a side in pixels."""
    patches = -(-side // 32)
    step = -(-patches // -(-patches // 32))
    return [(first, min(first + step, patches)) for first in range(0, patches, step)]


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


def routing_map(section, height, width):
    coder, counts = Coder(section), {}
    levels = np.zeros((-(-height // 32) + 1, -(-width // 32) + 1), int)
    for row in range(1, levels.shape[0]):
        for column in range(1, levels.shape[1]):
            context = levels[row, column - 1], levels[row - 1, column]
            seen = counts.setdefault(context, [1, 1, 1])
            symbol = coder.symbol(edges(seen))
            seen[symbol] += 1
            levels[row, column] = symbol + 1
    return levels[1:, 1:]


# --- the context machine


def activation(x, bits):
    return np.clip((x + (1 << bits - 1)) >> bits, 0, 127)


def convolve(grid, kernel):
    rows, columns, _ = grid.shape
    wide = np.pad(grid, ((1, 1), (1, 1), (0, 0)))
    taps = np.ndindex(3, 3)
    return sum(wide[v : v + rows, h : h + columns] @ kernel[v, h] for v, h in taps)


class Machine:
    def __init__(self, arrays, resolutions, quality):
        """`levels` holds, coarse to fine, cells along a patch and the sizes of the groups."""
        first = 2 ** (3 - resolutions)
        self.levels = [(first, (16, 48, 32, 96))]
        self.levels += [(first << step, (24, 24, 96)) for step in range(1, resolutions)]
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
        state = np.tile(self.weights["start"], (*(routing.shape * np.array(self.levels[0][0])), 1))
        result, mask = [], None
        for level, (scale, groups) in enumerate(self.levels):
            if level > 0:
                state = self.refine(f"level{level - 1}", state, mask)
            mask = np.kron(routing > level, np.ones((scale, scale), bool))
            found = []
            for group, size in enumerate(groups):
                name = f"level{level}_group{group}"
                symbols = np.zeros((*mask.shape, size), int)
                for phase in (0, 1):
                    sites = mask & (np.indices(mask.shape).sum(axis=0) % 2 == phase)
                    tables = self.choose(name, phase, state[sites])
                    symbols[sites] = self.read(coders[level], tables)
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
    t, last = file.quality / 50 - 1, config["resolutions"] - 1
    features = np.array([1, t, 2 * t**2 - 1, 4 * t**3 - 3 * t])
    step = 200 / 255 * (5 / 200) ** (file.quality / 100)
    scaled = []
    for level, symbols in enumerate(file.symbols):
        numbers = symbols * np.exp(features @ weights[f"inverse_gain{level}/curve"])
        scaled.append(numbers / finer(scaled, step))
    grid = scaled[0]
    for scale in range(last, -1, -1):
        order = channels(coarsest=scale == last)
        on = np.kron(file.routing > last - scale, np.ones((4 >> scale, 4 >> scale)))[..., None]
        for block in range(config["blocks"]):
            name = f"synthesis{scale}_block{block}/"
            of_block = {k.removeprefix(name): w for k, w in weights.items() if k.startswith(name)}
            relative = step / np.array([sigma(scale, *channel) for channel in order])
            grid = grid + on * correction(grid, features, relative, of_block)
        kernel = basis(scale, order) + 0.1 * weights[f"synthesis{scale}/offset"]
        if scale > 0:
            grid = np.concatenate([spread(grid @ kernel, 2), scaled[last - scale + 1]], axis=-1)
    picture = spread(grid @ (step * kernel), 8) + 0.5
    for number in range(last + 1):
        name = f"deblocking{number}/"
        of_kind = {k.removeprefix(name): w for k, w in weights.items() if k.startswith(name)}
        first = 8 << last if number == 0 else (8 << last) >> number
        borders = 8 << last if number == 0 else 2 * first
        for turned in (picture, picture.swapaxes(0, 1)):
            for row in range(first, len(turned), borders):
                deblock(turned[row - 4 : row + 4], features, step, of_kind)
    if file.grey:
        picture[:] = picture.mean(axis=-1, keepdims=True)
    picture = np.clip(np.rint(255 * picture), 0, 255).astype(np.uint8)
    return picture[: file.height, : file.width]


def finer(known, step):
    """How much more finely the level after the `known` ones was quantised, cell by cell."""
    if not known:
        return 1
    cells = spread(known[0] @ basis(2, channels(coarsest=True)), 2)
    if len(known) == 2:
        both = np.concatenate([cells, known[1]], axis=-1)
        cells = spread(both @ basis(1, channels(coarsest=False)), 2)
    side = 32 >> len(known)
    varies = [n for n, (v, h, colour) in enumerate(np.ndindex(4, 4, 3)) if colour == 0 and v + h]
    variance = np.sum((step * cells[..., varies]) ** 2, axis=-1, keepdims=True) / (3 * side**2)
    return ((variance + (4 / 255) ** 2) / 0.04**2) ** -0.15


def deblock(strip, features, step, weights):
    """Correct the 8 rows around a border where they are."""
    shown = np.swapaxes(strip - (strip[3] + strip[4]) / 2, 0, 1).reshape(strip.shape[1], 24)
    shown = np.sign(shown) * np.log1p(abs(4 * shown / step))
    shown = np.pad(shown, ((1, 1), (0, 0)))
    taps = [shown[n : n + strip.shape[1]] @ weights["enter/kernel"][0, n] for n in range(3)]
    bias = weights["enter/bias"] + features @ weights["film/kernel"] + weights["film/bias"]
    h = np.maximum(0, sum(taps) + bias)
    h = np.maximum(0, h @ weights["mix/kernel"] + weights["mix/bias"])
    change = step * (h @ weights["leave/kernel"] + weights["leave/bias"])
    strip += np.swapaxes(change.reshape(-1, 8, 3), 0, 1)


def correction(x, features, relative, weights):
    """What a residual block adds."""
    u, w = np.split(features @ weights["film/kernel"] + weights["film/bias"], 2)
    enter = weights["enter/kernel"] * (1 + u)
    h = np.sign(x) * np.log1p(abs(x)) @ enter[:192] + x @ (enter[192:] * relative[:, None])
    h = np.maximum(0, h + weights["enter/bias"] * (1 + u) + w)
    h = np.maximum(0, convolve(h, weights["mix/kernel"]) + weights["mix/bias"])
    return h @ weights["leave/kernel"] + weights["leave/bias"]


def channels(*, coarsest):
    """(v, h, colour) of the 192 channels of a scale."""
    every = list(np.ndindex(8, 8, 3))
    carried = [] if coarsest else [(v, h, c) for v, h, c in every if v < 4 and h < 4]
    others = [channel for channel in every if channel not in carried]
    return carried + sorted(others, key=lambda b: (b[2] > 0, b[0] + b[1], b[0], b[2]))


def sigma(scale, v, h, colour):
    return 0.45 * 2**scale * (1, 0.25, 0.12)[colour] / (0.16 + (v**2 + h**2) / 2) ** 0.62


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


def spread(grid, factor):
    """Each cell's row as factor x factor cells in raster order."""
    rows, columns, size = grid.shape
    cells = grid.reshape(rows, columns, factor, factor, size // factor**2).swapaxes(1, 2)
    return cells.reshape(rows * factor, columns * factor, -1)
