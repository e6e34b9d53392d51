import io
import json
import os
from functools import partial

import numpy as np
import pytest

import mrdcae_lite as mr
from mrdcae_lite import models
from mrdcae_lite.codec import Codec
from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.bitstream import BitstreamError
from mrdcae_lite.coding.metadata import Metadata, read_metadata
from mrdcae_lite.core import tiling
from mrdcae_lite.core.architecture import Architecture
from mrdcae_lite.core.pyramid import level_masks, section
from mrdcae_lite.core.quality import quantisation_step
from mrdcae_lite.core.tiling import Tiling
from mrdcae_lite.evaluation import inspection
from mrdcae_lite.runtime import encoder
from mrdcae_lite.runtime.decoder import Decoder
from mrdcae_lite.runtime.parallel import VARIABLE
from mrdcae_lite.training.model import MRDCAE
from mrdcae_lite.training.tables import with_fitted_tables


@pytest.fixture(scope="module")
def image():
    return mr.sample("flowers")[400:490, 400:525].copy()


@pytest.fixture(scope="module")
def data(tiny_codec, image):
    return tiny_codec.compress(image, quality=60)


@pytest.fixture(scope="module")
def other_codec(tiny_codec):
    """The same networks with other tables: another model."""
    return with_fitted_tables(tiny_codec, [mr.sample("dog")[:64, :64]], qualities=(50,))


# --- symbols


def test_calm_places_are_quantised_more_finely_than_busy_ones(tiny_codec, rng):
    picture = np.full((64, 64, 3), 128, np.uint8)
    picture[:, :32] = np.kron(rng.integers(0, 256, (16, 8, 3)), np.ones((4, 4, 1)))
    picture[:, 30:34] += rng.integers(0, 9, (64, 4, 3), np.uint8)  # not a drawing
    picture[::4] += rng.integers(0, 2, (16, 64, 3), np.uint8)
    symbols, _, _ = tiny_codec.read_symbols(tiny_codec.compress(picture, 80))
    coarsest, low, medium, high = inspection.contrast_gains(tiny_codec.model, symbols, 80)
    assert coarsest == low == 1
    assert (medium.shape, high.shape) == ((4, 4, 1), (8, 8, 1))
    for gain in (medium, high):
        busy, calm = np.split(gain[..., 0], 2, axis=1)
        assert calm[:, 1:].min() > 1 > busy.mean()


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_symbol_off_by_one_costs_the_distortion_weight_of_its_channel(tiny_codec, level):
    quality = 60
    data = tiny_codec.compress(mr.sample("flowers")[:128, :128], quality)
    symbols, _, _ = tiny_codec.read_symbols(data)
    changed = [found.copy() for found in symbols]
    some = np.argwhere(symbols[level] > 0)  # a zero would jump over the reconstruction point
    row, column, channel = some[len(some) // 2]
    changed[level][row, column, channel] += 1
    pictures = [
        tiny_codec.model.transforms.synthesise(k, quality).astype(np.float64)
        for k in (symbols, changed)
    ]
    error = ((pictures[1] - pictures[0]) ** 2).sum() / quantisation_step(quality) ** 2
    gains = inspection.contrast_gains(tiny_codec.model, symbols, quality)[level]
    gain = np.broadcast_to(gains[..., 0], changed[level].shape[:2])[row, column]
    weights = inspection.distortion_weights(tiny_codec.model, quality)[level]
    assert weights.shape == symbols[level].shape[2:]
    # A coarse symbol changes the contrast gains of the finer levels, too.
    assert error == pytest.approx(weights[channel] / gain**2, rel=0.1)


def test_rdoq_only_moves_symbols_one_step_towards_zero(tiny_codec, image, monkeypatch):
    monkeypatch.setattr(encoder, "ROUNDING_OFFSET", encoder.RDOQ_OFFSET)
    larger, smaller = (tiny_codec.compress(image, 10, effort=effort) for effort in (0, 1))
    plain, cheap = (tiny_codec.read_symbols(data)[0] for data in (larger, smaller))
    moved = [p - c for p, c in zip(plain, cheap, strict=True)]
    steps = [step * np.sign(before) for before, step in zip(plain, moved, strict=True)]
    assert all(set(np.unique(step)) <= {0, 1} for step in steps)
    assert any(step.any() for step in steps)
    assert len(smaller) < len(larger)


def synthesis(model, codec, data):
    """The picture in a file of a photograph, as the Keras model restores it in one piece."""
    symbols, _, header = codec.read_symbols(data)
    assert not header.stored
    assert not header.unfiltered
    quality = np.array([header.quality], np.float32)
    restored = model.synthesise([k[None].astype(np.float32) for k in symbols], quality)
    restored = np.asarray(model.filter(restored, quality))[0, : header.height, : header.width]
    return np.rint(255 * restored).clip(0, 255)


def test_the_filters_can_be_left_out(tiny_codec, data):
    with_them, without = (tiny_codec.decompress(data, filters=f) for f in (True, False))
    assert (with_them != without).any(axis=2).mean() > 0.2
    symbols, _, header = tiny_codec.read_symbols(data)
    plain = tiny_codec.model.transforms.synthesise(symbols, header.quality)
    expected = np.rint(255 * plain).clip(0, 255)[: header.height, : header.width]
    np.testing.assert_array_equal(without, expected)


def test_the_picture_is_the_synthesis_of_the_symbols(tiny_codec, tiny_model, image, data):
    found = tiny_codec.decompress(data)
    assert found.dtype == np.uint8
    assert abs(found.astype(int) - synthesis(tiny_model, tiny_codec, data)).max() <= 1
    assert mr.psnr(image, found, data_range=255) > 25


@pytest.mark.parametrize("resolutions", [4, 3, 2, 1])
def test_a_codec_without_attention_works_with_any_resolutions(
    resolutions, tiny_model_with, image, tmp_path
):
    model = tiny_model_with(attention=False, resolutions=resolutions)
    frozen = Codec.from_model(model)
    levels, highest = len(model.architecture.levels), model.architecture.highest
    data = frozen.compress(image, 60)
    routing, scores = frozen.routing_map(image, 60), frozen.saliency(image)
    assert routing.shape == scores.shape
    assert scores.min() == 1
    assert routing[:2, :3].min() == highest  # a photograph has something on every level
    symbols, _, header = frozen.read_symbols(data)
    assert [values.any() for values in symbols] == [True] * levels
    assert [size > 1 for size in header.lengths[2:]] == [n < highest for n in range(3)]
    restored = frozen.decompress(data)
    assert abs(restored.astype(int) - synthesis(model, frozen, data)).max() <= 1
    assert mr.psnr(image, restored, data_range=255) > 25
    frozen.save(tmp_path / "twin.keras-codec")
    again = mr.load(tmp_path / "twin.keras-codec")
    expected = Architecture(resolutions, False, 8, 8, 16)
    assert again.architecture == frozen.architecture == expected
    assert again.compress(image, 60) == data


def test_a_codec_of_one_resolution_has_the_same_picture_at_every_level(tiny_model_with, image):
    single = Codec.from_model(tiny_model_with(resolutions=1))
    data = single.compress(image, 30)
    for level in (1, 2):
        start = bitstream.up_to_level(data, level)
        np.testing.assert_array_equal(
            single.decompress(start, level=level), single.decompress(data)
        )


def test_a_picture_whose_patches_all_stay_low_comes_back(tiny_codec, image):
    routing = np.ones((4, 4), np.uint8)
    data = tiny_codec.compress(image, 30, routing=routing)
    np.testing.assert_array_equal(tiny_codec.read_symbols(data)[1], routing)
    assert mr.info(data).lengths[3:] == (0, 0)
    np.testing.assert_array_equal(tiny_codec.decompress(data), tiny_codec.decompress(data, level=1))


@pytest.mark.parametrize(("tile", "tiles"), [(1024, 1), (64, 4)])
def test_the_bits_of_the_symbols_add_up_to_the_file(tiny_codec, image, monkeypatch, tile, tiles):
    monkeypatch.setattr(tiling, "TILE", tile)
    data = tiny_codec.compress(image, quality=60)
    spent = inspection.information(tiny_codec.model, data)
    routing = tiny_codec.read_symbols(data)[1]
    sections = np.zeros(3)
    for number, (bits, mask) in enumerate(zip(spent, level_masks(routing, 4), strict=True)):
        assert bits.shape == mask.shape
        assert not bits[~mask].any()
        assert bits[mask].min() > 0
        sections[section(number, 4)] += bits.sum() / 8
    for size, information in zip(mr.info(data).lengths[2:], sections, strict=True):
        assert -1 < size - information < 4 * tiles


# --- sizes and tiles


@pytest.fixture(params=[64, 128])
def small_tiles(request, monkeypatch):
    monkeypatch.setattr(tiling, "TILE", request.param)


@pytest.fixture
def large():
    """A picture of many small tiles: uint8 (250, 315, 3)."""
    return mr.sample("flowers")[200:450, 200:515].copy()


def test_a_tile_is_analysed_as_in_the_whole_picture(tiny_codec, large, small_tiles):
    whole = tiny_codec.analyse(large, 50)
    assert set(np.unique(whole.routing)) == {1, 2, 3}
    for tile in Tiling(250, 315, 64):
        found = encoder.analyse(tiny_codec.model, large, 50, tile)
        levels = tiny_codec.architecture.levels
        for y, ours, level in zip(whole.levels, found.levels, levels, strict=True):
            expected = y[tile.on_grid(level.stride).slices]
            np.testing.assert_allclose(ours, expected, atol=1e-3, rtol=1e-5)
        np.testing.assert_allclose(found.scores, whole.scores[tile.slices], atol=1e-4)
        np.testing.assert_array_equal(found.routing, whole.routing[tile.slices])


def test_tiles_show_no_seam(tiny_codec, tiny_model, large, small_tiles):
    data = tiny_codec.compress(large, 50)
    found = tiny_codec.decompress(data).astype(int)
    assert abs(found - synthesis(tiny_model, tiny_codec, data)).max() <= 1


REGIONS = [
    (0, 0, 250, 315),
    (0, 0, 1, 1),
    (249, 314, 1, 1),
    (63, 95, 2, 2),
    (31, 100, 97, 3),
    (130, 0, 33, 315),
]


@pytest.mark.parametrize("level", [3, 1])
@pytest.mark.parametrize("drawn", [False, True])
def test_a_region_is_that_part_of_the_picture(tiny_codec, large, small_tiles, level, drawn):
    """Also where some tiles are stored without loss."""
    if drawn:
        large[:140, :150] = [250, 240, 20]
    data = tiny_codec.compress(large, 40)
    assert mr.info(data).stored == drawn
    whole = tiny_codec.decompress(data, level=level)
    for y, x, height, width in REGIONS:
        found = tiny_codec.decompress(data, level=level, region=(y, x, height, width))
        np.testing.assert_array_equal(found, whole[y : y + height, x : x + width])


def test_each_tile_is_decoded_at_most_once_and_only_where_it_is_needed(
    tiny_codec, large, small_tiles, monkeypatch
):
    decoded, decode = [], Decoder.decode_tile
    monkeypatch.setattr(
        Decoder, "decode_tile", lambda self, tile: decoded.append(tile) or decode(self, tile)
    )
    data, tiles = tiny_codec.compress(large, 40), Tiling(250, 315, 64)
    tiny_codec.decompress(data)
    assert sorted(decoded) == list(tiles)
    wide = tiles.with_halo(next(iter(tiles)), tiny_codec.architecture.decoder_halo)
    for filters, needed in ((True, tiles.overlapping(wide)), (False, [next(iter(tiles))])):
        decoded.clear()
        tiny_codec.decompress(data, region=(0, 0, 9, 9), filters=filters)
        assert sorted(decoded) == needed != list(tiles)


def test_the_number_of_threads_changes_no_byte_and_no_pixel(
    tiny_codec, large, small_tiles, monkeypatch
):
    large[:64, :64] = 200  # a tile to be stored
    data = tiny_codec.compress(large, 40, threads=1)
    picture = tiny_codec.decompress(data, threads=1)
    for threads in (2, 3):
        assert tiny_codec.compress(large, 40, threads=threads) == data
        np.testing.assert_array_equal(tiny_codec.decompress(data, threads=threads), picture)
    monkeypatch.setenv(VARIABLE, "2")
    assert tiny_codec.compress(large, 40) == data
    np.testing.assert_array_equal(tiny_codec.decompress(data), picture)


def test_a_wrong_number_of_threads_is_refused(tiny_codec, image, data, monkeypatch):
    for call in (partial(tiny_codec.compress, image), partial(tiny_codec.decompress, data)):
        with pytest.raises(
            ValueError, match="threads must be a whole number from 1 to 1024. Received: 0"
        ):
            call(threads=0)
    monkeypatch.setenv(VARIABLE, "many")
    for call in (partial(tiny_codec.compress, image), partial(tiny_codec.decompress, data)):
        with pytest.raises(ValueError, match="MRDCAE_THREADS must be .* Received: 'many'"):
            call()


def test_damage_in_one_tile_of_many_ends_the_decoding(tiny_codec, large, small_tiles):
    data = tiny_codec.compress(large, 40)
    header, sections = bitstream.unpack(data)
    tiles = len(list(Tiling(250, 315, 64)))
    streams = bitstream.split_streams(sections[2], tiles, "low level section")
    sections[2] = bitstream.join_streams([*streams[:-1], b"\xff" * 40])
    for threads in (1, 3):
        with pytest.raises(BitstreamError, match="holds impossible data"):
            tiny_codec.decompress(bitstream.pack(header, sections), threads=threads)


@pytest.mark.parametrize(
    "region",
    [(0, 0, 0, 5), (0, 0, 5, 0), (-1, 0, 5, 5), (0, -1, 5, 5), (86, 0, 5, 5), (0, 0, 5, 126)],
)
def test_a_region_must_lie_in_the_picture(tiny_codec, data, region):
    with pytest.raises(ValueError, match="inside 90 rows and 125 columns. Received: .*0"):
        tiny_codec.decompress(data, region=region)


@pytest.mark.parametrize("shape", [(1, 65536, 3), (65536, 1, 3)])
def test_a_picture_too_large_for_the_format_is_refused_when_it_is_written(tiny_codec, shape):
    with pytest.raises(ValueError, match="at most 65535 pixels a side"):
        tiny_codec.compress(np.zeros(shape, np.uint8), 0)


# --- levels


def test_every_level_adds_quality(tiny_codec, image, data):
    assert min(mr.info(data).lengths[1:]) > 0
    pictures = [tiny_codec.decompress(data, level=level) for level in (1, 2, 3)]
    scores = [mr.psnr(image, picture, data_range=255) for picture in pictures]
    assert scores == sorted(set(scores))


def test_a_lower_level_has_no_symbols_above_it(tiny_codec, data):
    every, _, _ = tiny_codec.read_symbols(data)
    lower, routing, _ = tiny_codec.read_symbols(data, level=2)
    assert routing.max() == 2
    for number in (0, 1, 2):
        np.testing.assert_array_equal(lower[number], every[number])
    assert not lower[3].any()


@pytest.mark.parametrize("level", [0, 4, "low"])
def test_there_are_three_levels(tiny_codec, data, level):
    with pytest.raises(ValueError, match=f"level must be 1, 2 or 3. Received: level={level!r}"):
        tiny_codec.decompress(data, level=level)


# --- quality, targets, regions


def test_a_higher_quality_takes_more_bytes_and_gives_more_psnr(tiny_codec, image):
    files = [tiny_codec.compress(image, quality) for quality in (0, 50, 100)]
    scores = [mr.psnr(image, tiny_codec.decompress(f), data_range=255) for f in files]
    assert [mr.info(f).quality for f in files] == [0, 50, 100]
    assert sorted(files, key=len) == files
    assert scores == sorted(scores)


def test_the_middle_quality_is_the_default(tiny_codec, image):
    assert tiny_codec.compress(image) == tiny_codec.compress(image, quality=50)


def test_a_target_rate_is_used_up_but_not_exceeded(tiny_codec, image):
    data = tiny_codec.compress(image, target_bpp=1.5)
    assert mr.bits_per_pixel(data, image.shape) <= 1.5
    better = tiny_codec.compress(image, mr.info(data).quality + 1)
    assert mr.bits_per_pixel(better, image.shape) > 1.5


def test_a_target_psnr_is_reached_but_hardly_more(tiny_codec, image):
    data = tiny_codec.compress(image, target_psnr=29)
    assert mr.psnr(image, tiny_codec.decompress(data), data_range=255) >= 29
    cheaper = tiny_codec.decompress(tiny_codec.compress(image, mr.info(data).quality - 1))
    assert mr.psnr(image, cheaper, data_range=255) < 29


@pytest.mark.parametrize("name", ["flowers", "bulb"])
def test_a_target_psnr_beyond_every_quality_gives_a_picture_without_loss(tiny_codec, name):
    """Whether the best quality stores it by itself, as it does the first, or not."""
    picture = mr.sample(name)[:64, :64]
    assert mr.info(tiny_codec.compress(picture, 100)).stored == (name == "flowers")
    data = tiny_codec.compress(picture, target_psnr=90)
    assert mr.info(data).stored
    np.testing.assert_array_equal(tiny_codec.decompress(data), picture)


def test_metadata_go_with_tiles_that_are_stored(tiny_codec, image, rng):
    alpha = rng.integers(0, 256, image.shape[:2], np.uint8)
    data = tiny_codec.compress(image, target_psnr=200, metadata=Metadata(alpha))
    np.testing.assert_array_equal(tiny_codec.decompress(data), image)
    np.testing.assert_array_equal(read_metadata(data).alpha, alpha)


def test_transparency_of_another_picture_is_refused(tiny_codec, image):
    for alpha in (np.zeros((10, 10), np.uint8), np.zeros(image.shape[:2])):
        with pytest.raises(ValueError, match=r"transparency must be a uint8 array of shape \("):
            tiny_codec.compress(image, metadata=Metadata(alpha))


def test_what_the_encoder_sees_is_asked_for_with_a_picture_and_a_quality(tiny_codec, image):
    with pytest.raises(TypeError, match="must be a NumPy array of uint8"):
        tiny_codec.saliency(image / 255)
    with pytest.raises(ValueError, match="quality must be a whole number"):
        tiny_codec.analyse(image, 150)


def test_a_codec_with_one_level_has_none_to_give_a_region(image):
    with pytest.raises(ValueError, match="roi needs a codec with three levels"):
        mr.load("standard").compress(image, roi=np.ones(image.shape[:2], bool))


def test_a_codec_file_is_loaded_again_when_it_has_changed(tiny_codec, tmp_path):
    path = tmp_path / "own.keras-codec"
    tiny_codec.save(path)
    assert mr.load(path).model is mr.load(path).model
    mr.load("standard").save(path)
    os.utime(path, (1, 1))
    assert mr.load(path).id == mr.load("standard").id


def test_a_region_gets_all_levels_and_the_rest_one_less(tiny_codec, image):
    before = tiny_codec.routing_map(image, 60)
    roi = np.zeros(image.shape[:2], bool)
    roi[31, 31] = True
    data = tiny_codec.compress(image, 60, roi=roi)
    _, routing, _ = tiny_codec.read_symbols(data)
    expected = np.maximum(before, 2) - 1
    expected[0, 0] = 3
    np.testing.assert_array_equal(routing, expected)


def test_the_levels_of_all_patches_can_be_given(tiny_codec, image, rng):
    wanted = rng.integers(1, 4, (4, 4)).astype(np.uint8)
    data = tiny_codec.compress(image, 60, routing=wanted)
    np.testing.assert_array_equal(tiny_codec.read_symbols(data)[1], wanted)
    own = tiny_codec.routing_map(image, 60)
    assert tiny_codec.compress(image, 60, routing=own) == tiny_codec.compress(image, 60)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"quality": 101}, "quality must be a whole number from 0 to 100. Received: quality=101"),
        ({"quality": 5, "target_bpp": 1.0}, "one of quality, target_bpp, target_psnr. Rec"),
        ({"target_psnr": 30.0, "target_bpp": 1.0}, "Received: more than one"),
        ({"target_bpp": 0.01}, "target_bpp=0.01 is out of reach .* Quality 0 takes 0.*ask"),
        ({"target_bpp": float("nan")}, "target_bpp must be a positive number. Received: nan"),
        ({"target_bpp": "3"}, "target_bpp must be a positive number. Received: '3'"),
        ({"target_psnr": -3.0}, "target_psnr must be a positive number. Received: -3.0"),
        ({"roi": np.ones((3, 4), bool)}, r"bool array of shape \(90, 125\). Received: bool \(3, 4"),
        ({"roi": np.ones((90, 125))}, "roi must be a bool array .* Received: float64"),
        (
            {"routing": np.ones((90, 125), np.uint8)},
            r"shape \(4, 4\) with levels 1 to 3. .*90, 125",
        ),
        ({"routing": np.ones((4, 4))}, "routing must be a uint8 array .* Received: float64"),
        ({"routing": np.zeros((4, 4), np.uint8)}, "with levels 1 to 3"),
        ({"routing": np.full((4, 4), 4, np.uint8)}, "with levels 1 to 3"),
        ({"roi": np.ones((90, 125), bool), "routing": np.ones((3, 4), np.uint8)}, "Received: both"),
    ],
)
def test_impossible_requests_are_refused(tiny_codec, image, asked, message):
    with pytest.raises(ValueError, match=message):
        tiny_codec.compress(image, **asked)


@pytest.mark.parametrize("picture", [np.zeros((8, 8, 3)), [[0, 0, 0]]])
def test_only_uint8_arrays_are_compressed(tiny_codec, picture):
    with pytest.raises(TypeError, match="must be a NumPy array of uint8"):
        tiny_codec.compress(picture)


def test_saliency_is_a_score_for_each_patch_and_what_is_proposed_follows_it(tiny_codec, image):
    scores, proposed = tiny_codec.saliency(image, 60), tiny_codec.analyse(image, 60).routing
    assert scores.dtype == np.float32
    assert scores.shape == proposed.shape == tiny_codec.routing_map(image, 60).shape == (4, 4)
    assert 0 <= scores.min() < scores.max() <= 1
    order = np.argsort(scores, axis=None)
    assert (np.diff(proposed.ravel()[order].astype(int)) >= 0).all()
    assert len(np.unique(proposed)) > 1


def test_the_routing_map_is_that_of_the_file(tiny_codec, large, small_tiles):
    for quality in (10, 50):
        found = tiny_codec.read_symbols(tiny_codec.compress(large, quality))[1]
        np.testing.assert_array_equal(found, tiny_codec.routing_map(large, quality))


# --- wrong files


def test_a_file_of_another_model_is_refused(other_codec, tiny_codec, data):
    assert other_codec.id != tiny_codec.id
    with pytest.raises(BitstreamError, match=f"made with model {tiny_codec.id.hex()}. This codec"):
        other_codec.decompress(data)


# --- codec files


def test_a_saved_codec_is_the_same_codec(tiny_codec, image, data, tmp_path):
    tiny_codec.save(tmp_path / "mine.keras-codec")
    restored = mr.load(tmp_path / "mine.keras-codec")
    assert restored.id == tiny_codec.id
    assert restored.compress(image, quality=60) == data
    np.testing.assert_array_equal(restored.decompress(data), tiny_codec.decompress(data))
    restored.save(tmp_path / "again.keras-codec")
    assert Codec.read((tmp_path / "again.keras-codec").read_bytes()).id == tiny_codec.id


def test_a_codec_does_not_follow_the_model_it_came_from(tiny_model, image):
    model = MRDCAE.from_config(tiny_model.get_config())
    model.build()
    frozen = Codec.from_model(model)
    before = frozen.compress(image, 10)
    for variable in model.trainable_variables:
        variable.assign_add(np.ones(variable.shape, np.float32))
    assert frozen.compress(image, 10) == before


def test_tables_fitted_to_photographs_make_their_files_smaller(tiny_codec, other_codec):
    picture = mr.sample("dog")[:64, :64]
    assert len(other_codec.compress(picture, 50)) < len(tiny_codec.compress(picture, 50))


@pytest.fixture(scope="module")
def codec_file(tiny_codec, tmp_path_factory):
    path = tmp_path_factory.mktemp("codec") / "tiny.keras-codec"
    tiny_codec.save(path)
    return path.read_bytes()


def edited(change):
    """Damage: the same archive after a function has changed its dictionary of arrays."""

    def damage(content):
        with np.load(io.BytesIO(content)) as archive:
            arrays = dict(archive)
        change(arrays)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    return damage


def without(name):
    return edited(lambda arrays: arrays.pop(name))


def configured(config):
    return edited(lambda arrays: arrays.update(config=np.frombuffer(config, np.uint8)))


def with_byte(place, value):
    """Damage: another byte in what the archive's directory says of its first file."""

    def damage(content):
        changed = bytearray(content)
        changed[content.index(b"PK\x01\x02") + place] = value
        return bytes(changed)

    return damage


def single_array(_content):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


DAMAGE = {
    "empty": lambda content: b"",
    "text": lambda content: b"not a codec",
    "truncated": lambda content: content[: len(content) // 2],
    "zeroed": lambda content: content[:5000] + bytes(200) + content[5200:],
    "npy": single_array,
    "no configuration": without("config"),
    "no tables": without("tables"),
    "no context model": without("prior/start"),
    "no transform": without("transforms/attention/spread"),
    "an array that no id covers": edited(lambda arrays: arrays.update(more=np.zeros(1))),
    "an array that no network has": edited(lambda arrays: arrays.update({"prior/x": np.zeros(1)})),
    "a weight without a value": edited(
        lambda arrays: arrays["transforms/attention/spread"].fill(np.nan)
    ),
    "encrypted": with_byte(8, 1),
    "unknown compression": with_byte(10, 0x63),
    "list": configured(b"[]"),
    "no channels": configured(b'{"prior_width": 0}'),
    "an older design": configured(b'{"resolutions": 3, "width": 128, "blocks": 2}'),
    "attention to one level": configured(b'{"resolutions": 1, "attention": true}'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_codec_file_is_refused(damage, codec_file):
    with pytest.raises(ValueError, match=r"expected a codec file|have no array|other|again"):
        Codec.read(damage(codec_file))


# --- shipped codecs


def test_every_shipped_codec_is_what_its_registry_says():
    assert "lite" in models.registry()
    for name, entry in models.registry().items():
        shipped = mr.load(name)
        assert shipped.id.hex() == entry["id"]
        assert mr.load(name).model is shipped.model
        assert len(json.dumps(entry["about"])) > 4


def test_the_shipped_standard_autoencoder_has_one_resolution_and_its_files_are_larger():
    lite, standard = mr.load("lite"), mr.load("standard")
    assert standard.architecture.resolutions == 1
    assert not standard.architecture.attention
    picture = mr.sample("dog")[200:328, 200:328]
    data = standard.compress(picture, target_psnr=30)
    assert mr.psnr(picture, mr.load_for(data).decompress(data), data_range=255) >= 30
    assert len(data) > len(lite.compress(picture, target_psnr=30))


def test_the_shipped_codec_reads_what_it_wrote_and_beats_a_plain_cosine_codec():
    shipped, picture = mr.load("lite"), mr.sample("flowers")[200:328, 200:328]
    data = shipped.compress(picture, quality=50)
    assert mr.load_for(data).model is shipped.model
    restored = shipped.decompress(data)
    model = MRDCAE(deblocking=8, refinement=8, prior_width=16)
    model.build()
    untrained = Codec.from_model(model)
    rival = untrained.compress(picture, target_bpp=mr.bits_per_pixel(data, picture.shape))
    assert mr.psnr(picture, restored, data_range=255) > mr.psnr(
        picture, untrained.decompress(rival), data_range=255
    )


def test_an_unknown_codec_is_refused_and_the_known_ones_are_named():
    with pytest.raises(ValueError, match=r"a codec file or one of: .*lite.* Received: 'huge'"):
        mr.load("huge")


def test_a_file_of_no_shipped_codec_asks_for_its_codec_file(data, tiny_codec):
    with pytest.raises(
        BitstreamError, match=f"{tiny_codec.id.hex()}, which is not among .*--model"
    ):
        mr.load_for(data)


def test_shipped_weights_that_changed_are_refused(monkeypatch, tmp_path):
    (tmp_path / "x.keras-codec").write_bytes(b"something else")
    entry = {"file": "x.keras-codec", "sha256": "0" * 64, "id": "00" * 8, "about": "a test"}
    monkeypatch.setattr(models, "registry", lambda: {"x": entry})
    monkeypatch.setattr(models, "_weights", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"x\.keras-codec do not have the SHA-256"):
        mr.load("x")


def arrays_of(codec):
    return codec.model.transform_weights | codec.model.context_weights


def test_a_codec_becomes_a_model_to_train_on(tiny_codec):
    model = MRDCAE(deblocking=8, refinement=8, prior_width=16)
    tiny_codec.to_model(model)
    before, after = arrays_of(tiny_codec), arrays_of(Codec.from_model(model))
    assert before.keys() == after.keys()
    for name, array in before.items():
        unit = 1 if array.dtype == np.int32 else 0  # a curve over the quality, rounded twice
        np.testing.assert_allclose(after[name], array, atol=unit, rtol=0, err_msg=name)


def test_a_model_of_another_architecture_is_refused(tiny_codec):
    model = MRDCAE(deblocking=4, refinement=8, prior_width=16)
    with pytest.raises(
        ValueError, match=r"expected a codec like the model, .*Received: .*deblocking=8"
    ):
        tiny_codec.to_model(model)
