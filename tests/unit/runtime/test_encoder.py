"""What the encoder decides with the original at hand: routing, filters, tiles without loss."""

from dataclasses import replace

import numpy as np
import pytest

import mrdcae_lite as mr
from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.bitstream import BitstreamError
from mrdcae_lite.coding.lossless import write_lossless
from mrdcae_lite.core import tiling
from mrdcae_lite.core.pyramid import PATCH, level_masks
from mrdcae_lite.core.quality import quantisation_step
from mrdcae_lite.core.rate_distortion import LAMBDA, quantise
from mrdcae_lite.runtime import decoder, encoder
from mrdcae_lite.runtime.decoder import Decoder, keep_unfiltered

# --- routing


@pytest.fixture(scope="module")
def latents(tiny_codec):
    """Of a part of a photograph of 8 x 10 patches, at quality 60."""
    return tiny_codec.analyse(mr.sample("flowers")[:256, :320], 60)


def routed(codec, latents, proposal, quality=60):
    proposed = np.broadcast_to(np.uint8(proposal), latents.routing.shape)
    return encoder.route(codec.model, replace(latents, routing=proposed), quality)


def symbols_of(codec, latents, routing, quality=60):
    """Symbols rounded plainly, zero where a routing switches them off."""
    transforms, symbols, decoded = codec.model.transforms, [], []
    masks = level_masks(routing, len(latents.levels))
    for number, (y, mask) in enumerate(zip(latents.levels, masks, strict=True)):
        gain = transforms.contrast_gain(decoded, quality)
        symbols.append(quantise(y * gain) * mask[..., None])
        decoded.append(transforms.dequantise(symbols[-1], number, gain, quality))
    return symbols


def test_a_level_that_attention_wants_is_kept_unless_all_of_it_is_zero(tiny_codec):
    latents = tiny_codec.analyse(mr.sample("flowers")[:256, :320], 5)
    routing = routed(tiny_codec, latents, 3, quality=5)
    every = symbols_of(tiny_codec, latents, np.full_like(routing, 3), quality=5)
    needed = np.ones_like(routing)
    for number, level in ((-2, 2), (-1, 3)):
        some = every[number].any(axis=2).reshape(8, every[number].shape[0] // 8, 10, -1)
        needed[some.any(axis=(1, 3))] = level
    np.testing.assert_array_equal(routing, needed)
    assert len(np.unique(needed)) > 1


def test_levels_without_a_symbol_are_left_out_and_cost_nothing(tiny_codec):
    flat = tiny_codec.analyse(np.full((64, 128, 3), 77, np.uint8), 60)
    np.testing.assert_array_equal(routed(tiny_codec, flat, 3), np.ones((2, 4)))


def test_what_is_left_out_saves_more_than_it_costs(tiny_codec, latents):
    """Patch by patch, with the loss measured in the picture and the bits guessed alike."""
    everything = symbols_of(tiny_codec, latents, np.full((8, 10), 3, np.uint8))
    routing = routed(tiny_codec, latents, 1)
    original = mr.sample("flowers")[:256, :320] / 255
    errors = []
    for symbols in (everything, symbols_of(tiny_codec, latents, routing)):
        restored = tiny_codec.model.transforms.synthesise(symbols, 60)
        errors.append(((restored - original) ** 2).sum() / quantisation_step(60) ** 2)
    assert set(np.unique(routing)) >= {1, 3}
    assert errors[1] <= 1.07 * errors[0]
    bits = 0.0
    for number, level in ((-2, 2), (-1, 3)):
        mask = level_masks(routing, 4)[number]
        off = abs(everything[number][~mask])
        bits += (encoder.BITS_OF_ONE + encoder.BITS_A_DOUBLING * np.log2(off[off > 0])).sum()
        assert mask.all() == (routing.min() >= level)
    assert errors[1] - errors[0] < 1.3 * LAMBDA * bits


def test_a_patch_of_detail_keeps_its_levels_whatever_attention_says(tiny_codec, rng):
    """A code or a text beside nothing: attention may be wrong where it was not trained."""
    picture = np.full((128, 128, 3), 128, np.uint8)
    picture[32:64, 64:96] = rng.integers(0, 2, (32, 32, 1)) * 255
    routing = routed(tiny_codec, tiny_codec.analyse(picture, 60), 1)
    assert routing[1, 2] == 3


# Losses and bits of the medium and the high level of single patches, and what is right for them.
CASES = {
    "both cost more than they save": ((1.0, 1.0), (100.0, 100.0), 1, 1),
    "the high one is worth it": ((1.0, 90.0), (100.0, 100.0), 1, 3),
    "only the medium one is": ((90.0, 1.0), (100.0, 100.0), 1, 2),
    "the high one needs the medium one": ((1.0, 90.0), (1000.0, 100.0), 1, 3),
    "what the high one cost pays for no other": ((90.0, 1.0), (100.0, 1000.0), 1, 2),
    "attention wants the medium one": ((1.0, 1.0), (100.0, 100.0), 2, 2),
    "attention wants both": ((1.0, 1.0), (100.0, 100.0), 3, 3),
    "nothing is in the high one": ((90.0, 0.0), (100.0, 0.0), 3, 2),
    "nothing is in the medium one": ((0.0, 90.0), (0.0, 100.0), 3, 3),
    "nothing is in either": ((0.0, 0.0), (0.0, 0.0), 3, 1),
}


@pytest.mark.parametrize(("losses", "bits", "proposed", "best"), CASES.values(), ids=CASES.keys())
def test_the_cheapest_level_of_a_patch(losses, bits, proposed, best):
    found = encoder._cheapest(
        np.array([[proposed]], np.uint8),
        [np.array([[x]]) for x in losses],
        [np.array([[x]]) for x in bits],
        error=1e6,
    )
    assert found == best


def test_the_loss_of_all_patches_stays_within_its_limit(rng):
    """The cheapest are left out first; with no room only what costs nothing is."""
    shape = (12, 12)
    losses = [rng.exponential(3, shape), rng.exponential(3, shape)]
    bits = [np.full(shape, 1000.0), np.full(shape, 1000.0)]
    bits[1][0], losses[1][0] = 0, 0
    for error in (0.0, 500.0, 3000.0, 1e6):
        routing = encoder._cheapest(np.ones(shape, np.uint8), losses, bits, error)
        lost = np.where(routing < 3, losses[1], 0) + np.where(routing < 2, losses[0], 0)
        assert lost.sum() <= encoder.LOSS_LIMIT * error
        whole = routing[1:] == 3
        if whole.any() and not whole.all():
            total = sum(losses)[1:]
            assert total[~whole].max() <= total[whole].min()
        assert (routing[0] <= 2).all()
    assert (routing == 1).all()


# --- adapted latents


def test_more_effort_takes_fewer_bits_at_equal_psnr_and_ssim():
    codec, pictures = mr.load("lite"), [mr.sample(n)[160:352, 160:352] for n in ("flowers", "dog")]

    def curves(effort):
        points = []
        for picture in pictures:
            files = [codec.compress(picture, q, effort=effort) for q in (10, 30, 50, 70)]
            restored = [codec.decompress(file) for file in files]
            bits = [mr.bits_per_pixel(file, picture.shape) for file in files]
            scores = [mr.psnr, mr.ssim]
            points.append(
                (bits, *[[s(picture, r, data_range=255) for r in restored] for s in scores])
            )
        return points

    usual, more, most = curves(1), curves(2), curves(4)
    for measure, least in ((1, -0.5), (2, -3.0)):
        percent = [
            np.mean([mr.bd_rate(a[0], a[measure], b[0], b[measure]).percent for a, b in pairs])
            for pairs in (zip(usual, more, strict=True), zip(more, most, strict=True))
        ]
        assert percent[0] < least, measure
        assert percent[1] < 0, measure


def test_a_pass_adds_what_the_decoded_tile_lacks(tiny_codec, monkeypatch):
    """Without filters and emphasis nothing but the latents before rounding; with them, more."""
    model, quality = tiny_codec.model, 30
    pixels = mr.sample("flowers")[300:428, 300:428]
    latents = tiny_codec.analyse(pixels, quality)
    symbols = symbols_of(tiny_codec, latents, np.full_like(latents.routing, 3), quality)
    before = encoder.adapt(model, pixels, latents, symbols, quality)
    monkeypatch.setattr(encoder, "EMPHASIS", 0.0)
    monkeypatch.setattr(type(model.transforms), "filter", lambda _, image, quality: image)
    alone = encoder.adapt(model, pixels, latents, symbols, quality)
    for y, same, other in zip(latents.levels, alone.levels, before.levels, strict=True):
        np.testing.assert_allclose(same, y, atol=2e-3)
        assert abs(other - y).max() > 0.1


def test_what_looks_drawn_is_left_as_it_is(tiny_codec, rng):
    image = drawing(64, 96)
    image[::5, ::7] = rng.integers(0, 256, image[::5, ::7].shape)
    usual, more = (
        encoder.encode(tiny_codec.model, image, 60, effort=e, store=False) for e in (1, 3)
    )
    assert usual == more


# --- filters


def test_patches_can_be_put_back_as_they_were_before_the_filters(rng):
    before, after = rng.random((64, 96, 3)), rng.random((64, 96, 3))
    result, off = after.copy(), np.array([[True, False, False], [False, True, True]])
    keep_unfiltered(before, result, off)
    pixels = np.kron(off, np.ones((PATCH, PATCH))) > 0
    np.testing.assert_array_equal(result, np.where(pixels[..., None], before, after))


def test_the_filters_are_off_where_they_do_harm_and_only_there(tiny_codec, monkeypatch):
    """In what looks drawn; this is too large to be stored."""
    image = mr.sample("flowers")[300:428, 100:292] // 64 * 64
    data = tiny_codec.compress(image, 40)
    assert mr.info(data).unfiltered
    found, plain = (tiny_codec.decompress(data, filters=f) for f in (True, False))
    monkeypatch.setattr(decoder, "keep_unfiltered", lambda *_: None)
    filtered = tiny_codec.decompress(data)
    errors = [
        ((x.astype(float) - image) ** 2).reshape(4, 32, 6, 32, 3).sum(axis=(1, 3, 4))
        for x in (found, plain, filtered)
    ]
    np.testing.assert_allclose(errors[0], np.minimum(errors[1], errors[2]), rtol=1e-3)
    assert (errors[2] > errors[1]).any()


def test_photographs_are_not_measured(tiny_codec, photograph, monkeypatch):
    monkeypatch.setattr(encoder, "_measure_filters", None)
    data = tiny_codec.compress(photograph, 60)
    assert not mr.info(data).unfiltered


# --- tiles without loss


def drawing(height, width):
    """Lines and letters' worth of edges in four colours: uint8 (height, width, 3)."""
    rows, columns = np.indices((height, width))
    colours = np.array([[255, 255, 255], [20, 30, 90], [200, 40, 40], [0, 0, 0]], np.uint8)
    kinds = (rows % 13 < 2) * 1 + ((columns + rows // 7) % 11 < 2) * 2
    return colours[kinds]


@pytest.fixture
def tiles_of_128(monkeypatch):
    monkeypatch.setattr(tiling, "TILE", 128)


@pytest.fixture
def mixed(tiles_of_128):
    """A drawing of 2 x 3 tiles with a photograph in two of them: uint8 (200, 340, 3)."""
    image = drawing(200, 340)
    image[:128, 128:256] = mr.sample("flowers")[300:428, 300:428]
    image[128:, 256:] = mr.sample("dog")[100:172, 100:184]
    return image


@pytest.mark.parametrize("shape", [(1, 1), (37, 61), (100, 64)])
@pytest.mark.parametrize("quality", [0, 50, 100])
def test_a_drawing_comes_back_exactly_or_smaller_than_without_loss(tiny_codec, shape, quality):
    image = drawing(*shape)
    data = tiny_codec.compress(image, quality)
    lossless = write_lossless(image)
    assert len(data) <= len(lossless) + 50
    if mr.info(data).stored:
        np.testing.assert_array_equal(tiny_codec.decompress(data), image)
        np.testing.assert_array_equal(tiny_codec.decompress(data, level=1), image)
    assert mr.info(data).stored or quality < 100


def test_stored_and_coded_tiles_stand_beside_one_another(tiny_codec, mixed):
    data = tiny_codec.compress(mixed, 60)
    opened = Decoder(tiny_codec.model, data)
    assert [tile in opened.stored for tile in opened.tiling] == [1, 0, 1, 1, 1, 0]
    found = tiny_codec.decompress(data)
    for tile in opened.stored:
        pixels = tile.on_grid(1).slices
        np.testing.assert_array_equal(found[pixels], mixed[pixels])
        assert (opened.routing[tile.slices] == 1).all()
    assert (found != mixed).any()
    symbols, _, _ = tiny_codec.read_symbols(data)
    for k, level in zip(symbols, tiny_codec.architecture.levels, strict=True):
        for tile in opened.tiling:
            assert k[tile.on_grid(level.stride).slices].any() <= (tile not in opened.stored)


def test_the_filters_see_the_pixels_of_stored_neighbours(tiny_codec, mixed):
    """What the decoder shows of a coded tile, against the filters on the picture in one piece."""
    data = tiny_codec.compress(mixed, 30)
    opened, transforms = Decoder(tiny_codec.model, data), tiny_codec.model.transforms
    whole = np.empty((256, 384, 3), np.float32)
    for tile in opened.tiling:
        whole[tile.on_grid(1).slices] = opened.synthesise(tile)
    filtered = transforms.filter(whole, 30)
    keep_unfiltered(whole, filtered, opened._unfiltered)
    expected, found = np.clip(np.rint(filtered * 255), 0, 255), tiny_codec.decompress(data)
    coded = next(tile for tile in opened.tiling if tile not in opened.stored).on_grid(1).slices
    assert abs(found[coded] - expected[coded]).max() <= 1


def test_a_damaged_stored_stream_is_refused(tiny_codec, mixed):
    data = tiny_codec.compress(mixed, 60)
    header, sections = bitstream.unpack(data)
    streams = bitstream.split_streams(sections[2], 6, "low level section")
    for wrong in (b"", streams[0][:40], streams[2]):
        sections[2] = bitstream.join_streams([wrong, *streams[1:]])
        damaged = bitstream.pack(header, sections)
        with pytest.raises(BitstreamError, match="a stored tile"):
            tiny_codec.decompress(damaged)
        tiny_codec.decompress(damaged, region=(180, 330, 20, 10))  # far from it


def test_at_the_best_quality_every_tile_has_at_least_42_db(tiny_codec, rng):
    for picture in (
        rng.integers(0, 256, (70, 90, 3), np.uint8),  # too much for the quantisation steps
        mr.sample("flowers")[200:300, 200:300],
        drawing(40, 70),
    ):
        data = tiny_codec.compress(picture, 100)
        assert mr.psnr(picture, tiny_codec.decompress(data), data_range=255) >= 42
