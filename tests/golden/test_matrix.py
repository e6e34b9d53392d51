"""A file means the same whatever multiplies the matrices: symbols to the bit, pixels to one level.

Every setting is a process of its own, as libraries read these variables when they are loaded.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mrdcae_lite as mr

DATA = Path(__file__).parent / "data"


def threads(number: int) -> dict[str, str]:
    return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(number))


SETTINGS = {
    "1 thread": threads(1),
    "2 threads": threads(2),
    "4 threads": threads(4),
    "Haswell kernels": {**threads(4), "OPENBLAS_CORETYPE": "Haswell"},
    "Nehalem kernels": {**threads(1), "OPENBLAS_CORETYPE": "Nehalem"},
}

DECODE = """
import ctypes, hashlib, json, sys
from pathlib import Path
import numpy as np
import mrdcae_lite as mr

found, small = {}, mr.load(Path(sys.argv[1]) / "golden.keras-codec")
for path in sorted(Path(sys.argv[1]).glob("*.mrdc")):
    data = path.read_bytes()
    codec = small if mr.info(data).model == small.id else mr.load_for(data)
    symbols, routing, _ = codec.read_symbols(data)
    whole = hashlib.sha256(routing.tobytes())
    for level in symbols:
        whole.update(level.astype("<i4").tobytes())
    found[path.stem] = whole.hexdigest()
    np.save(Path(sys.argv[2]) / f"{path.stem}.npy", codec.decompress(data))
kernels = None
for library in Path(np.__file__).parents[1].glob("numpy.libs/*openblas*"):
    name = getattr(ctypes.CDLL(str(library)), "scipy_openblas_get_corename64_", None)
    if name:
        name.restype = ctypes.c_char_p
        kernels = name().decode()
print(json.dumps([found, kernels]))
"""


@pytest.fixture(scope="module")
def decoded(tmp_path_factory):
    """By setting: the symbols' digests and the pixels of each file, and the kernels in use."""
    results = {}
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "OPENBLAS_"))}
    for setting, variables in SETTINGS.items():
        pixels = tmp_path_factory.mktemp("pixels")
        command = [sys.executable, "-c", DECODE, *map(str, (DATA, pixels))]
        done = subprocess.run(command, env=clean | variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        digests, kernels = json.loads(done.stdout)
        arrays = {name: np.load(pixels / f"{name}.npy").astype(int) for name in digests}
        results[setting] = digests, arrays, kernels
    return results


@pytest.mark.parametrize("setting", SETTINGS)
def test_symbols_are_the_same_to_the_bit(setting, decoded):
    digests, _, _ = decoded[setting]
    golden = json.loads((DATA / "symbols.json").read_text())
    assert digests == golden


@pytest.mark.parametrize("setting", SETTINGS)
def test_pixels_are_the_same_but_for_one_grey_level(setting, decoded):
    _, arrays, _ = decoded[setting]
    for name, pixels in arrays.items():
        assert abs(pixels - decoded["1 thread"][1][name]).max() <= 1
        assert abs(pixels - mr.read_image(DATA / f"{name}.png")).max() <= 1


def test_the_kernels_were_not_all_the_same(decoded):
    kernels = {setting: found for setting, (_, _, found) in decoded.items()}
    if kernels["Haswell kernels"] != "Haswell":
        pytest.skip(f"this NumPy multiplies with {kernels['1 thread']} kernels, whatever is asked")
    assert kernels["Nehalem kernels"] == "Nehalem"
