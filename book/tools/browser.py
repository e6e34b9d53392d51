"""The codec for the browser, and the pair of pictures that the landing page begins with.

`pages` returns the files of both: in assets/codec/ what web/ holds (its page, its sources and what
is vendored), the networks as ONNX graphs and the samples; and front.md with its pictures. What
takes long, the graphs and the pair, is kept in _build/browser until the package changes.
"""

import base64
import json
import re
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

import mrdcae_lite as mr
from book.tools import paths
from book.tools.records import digest, files_under, remember, remembered
from mrdcae_lite.core.files import write_atomically
from mrdcae_lite.evaluation.baselines import BASELINES, encode_alike
from mrdcae_lite.notebook.widgets import compare

WEB = paths.ROOT / "web"
SERVED = ("page/*", "src/*.js", "src/kernel.wasm", "vendor/*/*")
MADE = paths.BUILD / "browser"
THUMBNAIL = 128  # pixels a side; shown at half of that
FRONT, FRONT_BPP = "flowers", 0.4  # sample of the landing page, and about its bits per pixel
FRONT_ROWS = slice(80, 464)  # of the sample: with all, it would not fit on the first screen

Files = dict[str, bytes]


def pages() -> Files:
    """Everything by its path in the book."""
    package = [*files_under(paths.PACKAGE), Path(__file__), paths.ROOT / "requirements.lock"]
    key, record = digest(package), MADE / "made.json"
    if remembered(record, key) is None:
        print("browser: exporting the networks")
        for name, content in (_graphs() | _samples() | _front()).items():
            (MADE / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(MADE / name, content)
        remember(record, key)
    made = {
        p.relative_to(MADE).as_posix(): p.read_bytes() for p in files_under(MADE) if p != record
    }
    served = (path for pattern in SERVED for path in sorted(WEB.glob(pattern)))
    files = {f"assets/codec/{p.relative_to(WEB).as_posix()}": p.read_bytes() for p in served}
    style = paths.PACKAGE / "notebook" / "widgets.css"
    return made | files | {"assets/codec/page/widgets.css": style.read_bytes()}


def _graphs() -> Files:
    from mrdcae_lite.training.export import context, graphs  # which loads TensorFlow

    codec = mr.load()
    files = {f"{name}.onnx": graph for name, graph in graphs(codec).items()}
    files["graphs.json"] = json.dumps(sorted(files)).encode()
    files["context.npz"] = context(codec)
    return {f"assets/codec/graphs/{name}": content for name, content in files.items()}


def _samples() -> Files:
    """The bundled photographs, unchanged, and small ones to choose from."""
    found = {}
    for name in mr.sample_names():
        small = Image.fromarray(mr.sample(name)).resize((THUMBNAIL, THUMBNAIL))
        buffer = BytesIO()
        small.save(buffer, "JPEG", quality=80, optimize=True)
        found[f"{name}.jpg"] = buffer.getvalue()
        found[f"{name}.png"] = (paths.PACKAGE / "samples" / f"{name}.png").read_bytes()
    return {f"assets/codec/samples/{name}": content for name, content in found.items()}


def _front() -> Files:
    """The divider of the landing page: JPEG and this codec in the same number of bytes."""
    picture = mr.sample(FRONT)[FRONT_ROWS]
    codec = mr.load()
    jpegs = partial(BASELINES["jpeg"].encode, picture), BASELINES["jpeg"].grid
    files = partial(codec.compress, picture), range(101)
    ours, jpeg = encode_alike(files, jpegs, round(FRONT_BPP * picture[..., 0].size / 8))
    restored, other = codec.decompress(ours), np.asarray(Image.open(BytesIO(jpeg)))
    words = [
        f"{name}, {len(data):,} bytes: {mr.psnr(picture, pixels, data_range=255):.1f} dB"
        for name, data, pixels in (("MR-DCAE Lite", ours, restored), ("JPEG", jpeg, other))
    ]
    size = mr.bits_per_pixel(ours, picture.shape)
    caption = (
        f"A photograph at {size:.2f} bits per pixel; both files are equally large to within 1 %. "
        "JPEG as most programs write it (libjpeg-turbo, optimised)."
    )
    html = compare(restored, other, labels=(words[0], words[1]), caption=caption).html
    pictures: Files = {}

    def as_file(found: re.Match[str]) -> str:
        name = f"front/{('ours', 'jpeg')[len(pictures)]}.webp"
        pictures[f"assets/{name}"] = base64.b64decode(found[1])
        return f"_static/{name}"

    html = re.sub(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", as_file, html)
    return pictures | {"front.md": f"```{{raw}} html\n{html}\n```\n".encode()}
