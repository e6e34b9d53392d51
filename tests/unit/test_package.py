import subprocess
import sys

import pytest

import mrdcae_lite as mr

PLAIN = """
import sys
import mrdcae_lite as mr
from mrdcae_lite.cli import main

codec, picture = mr.load(), mr.sample("flowers")[:40, :50]
data = codec.compress(picture, quality=20)
assert codec.decompress(data).shape == picture.shape
codec.save("plain.keras-codec")
mr.write_image("a.png", picture)
model = ["--model", "plain.keras-codec"]
for command in (
    ["compress", "a.png", "a.mrdc", *model],
    ["decompress", "a.mrdc", "b.png", *model],
    ["info", "a.mrdc"],
    ["models"],
):
    assert main(command) == 0, command
print(sorted({"keras", "tensorflow", "jax", "torch"} & set(sys.modules)))
print(mr.MRDCAE.__name__, "keras" in sys.modules)
"""


def test_keras_is_loaded_only_when_the_model_is_asked_for(tmp_path):
    command = [sys.executable, "-c", PLAIN]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["[]", "MRDCAE True"]


def test_every_public_name_is_there_and_no_other():
    assert all(hasattr(mr, name) for name in mr.__all__)
    with pytest.raises(AttributeError, match="module 'mrdcae_lite' has no attribute 'DCAE'"):
        mr.DCAE  # noqa: B018
