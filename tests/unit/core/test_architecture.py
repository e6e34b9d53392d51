import numpy as np
import pytest

from mrdcae_lite.core.architecture import Architecture
from mrdcae_lite.evaluation.inspection import multiplications


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolutions": 5}, "resolutions must be a whole number from 1 to 4. Received: 5"),
        ({"resolutions": 0}, "resolutions must be a whole number from 1 to 4. Received: 0"),
        ({"resolutions": True}, "resolutions must be a whole number from 1 to 4. Received: True"),
        ({"deblocking": -1}, "deblocking must be a whole number of at least 0. Received: -1"),
        ({"refinement": 0.5}, "refinement must be a whole number of at least 0. Received: 0.5"),
        ({"prior_width": 97}, "prior_width must be a whole number from 1 to 96. Received: 97"),
        ({"resolutions": 1}, "attention must be .* False with a single resolution"),
        ({"attention": 1}, "attention must be True or False"),
    ],
)
def test_impossible_combinations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Architecture(**options)


@pytest.mark.parametrize(("resolutions", "highest", "unit"), [(1, 1, 32), (2, 2, 32), (3, 3, 32)])
def test_patches_have_up_to_three_levels(resolutions, highest, unit):
    shape = Architecture(resolutions, attention=False)
    assert (shape.highest, shape.unit) == (highest, unit)
    assert (Architecture().highest, Architecture().unit) == (3, 64)


@pytest.mark.parametrize("filters", [0, 8])
@pytest.mark.parametrize("attention", [False, True])
def test_what_is_left_out_has_no_arrays(filters, attention):
    shape = Architecture(2, attention, filters, filters)
    names = {spec.name.split("/")[0] for spec in shape.transform_arrays()}
    assert ("attention" in names) == attention
    assert ({"deblocking0", "deblocking1", "refinement"} & names != set()) == (filters > 0)
    assert {f"analysis{n}" for n in range(2)} | {"gain1", "reconstruction1"} <= names


def test_multiplications_are_those_of_all_matrices_at_their_grids():
    """Counted by hand for the sizes of the shipped codec."""
    grids = [1 / 64, 1 / 256, 1 / 1024, 1 / 4096]
    transforms = 192 * 192 * np.sum(grids)
    context = (9 * 192 * 96 + 5 * 96 * 96 + 96 * 192) / 4096
    context += (9 * 144 * 96 + 5 * 96 * 96 + 96 * 144) / 1024
    context += (9 * 144 * 96 + 3 * 96 * 96 + 96 * 144) * (1 / 64 + 1 / 256)
    context += (9 * 96 * 96 + 96 * 4 * 96) * np.sum(grids[1:])
    borders = (72 * 64 + 64 * 64 + 64 * 24) * (2 / 64 + 2 / 64 + 2 / 32 + 2 / 16)
    refinement = (60 * 64 + 9 * 64 * 64 + 64 * 48) / 16
    contrast = 192 * 192 * (2 / 4096 + 2 / 1024 + 1 / 256)
    expected = transforms + context + borders + refinement + contrast
    assert multiplications(Architecture()) == pytest.approx(expected)
