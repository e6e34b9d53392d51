"""The networks of a codec as ONNX graphs, for programs that are not written in Python.

    export(mr.load("lite"), Path("graphs"))

writes what is needed besides the container, the range coder and the steps of the context model,
which the page on the format describes:

    analysis.onnx    image, quality -> level0, level1, ... (latents), logits (of attention)
    contrastN.onnx   level0, ... of all levels before N (symbols), quality -> gain of level N
    synthesis.onnx   level0, level1, ... (symbols), quality -> image before the filters
    filter.onnx      image, quality -> restored, the image after deblocking and refinement
    context.npz      integer weights of the context model and the coding tables

Images are float32 (1, height, width, 3) in [0, 1], sides multiples of `Architecture.unit`; levels
are float32 (1, height/stride, width/stride, channels), coarse to fine; the quality is float32 (1,).
Latents are multiplied by the gain of their level, float32 (1, height/stride, width/stride, 1),
before they are rounded; levels that are always on have none.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mrdcae_lite.codec import Codec
from mrdcae_lite.core.architecture import Architecture
from mrdcae_lite.core.files import write_atomically
from mrdcae_lite.core.pyramid import always_on
from mrdcae_lite.extras import extra
from mrdcae_lite.training.layers import Tensor
from mrdcae_lite.training.model import MRDCAE

OPSET = 17
"""Version of the ONNX operators: what every runtime since 2022 knows."""


def export(codec: Codec, folder: Path) -> list[Path]:
    """Write the graphs and the context model of a codec into a folder, made if it is not there.

    Returns the files. Raises `ImportError` if TensorFlow or tf2onnx is not installed, and `OSError`
    if the folder cannot be written.
    """
    contents = {f"{name}.onnx": graph for name, graph in graphs(codec).items()}
    contents["context.npz"] = context(codec)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def graphs(codec: Codec) -> dict[str, bytes]:
    """The graphs of a codec by name."""
    model = _model(codec)
    image = {"image": (1, None, None, 3)}
    levels = {
        f"level{number}": (1, None, None, len(level.bands))
        for number, level in enumerate(codec.architecture.levels)
    }

    def analysis(image: Tensor, quality: Tensor) -> dict[str, Tensor]:
        latents, logits = model.analyse(image, quality)
        found = dict(zip(levels, latents, strict=True))
        return found if logits is None else {**found, "logits": logits}

    def synthesis(*symbols_and_quality: Tensor) -> dict[str, Tensor]:
        *symbols, quality = symbols_and_quality
        return {"image": model.synthesise(symbols, quality)}

    def filters(image: Tensor, quality: Tensor) -> dict[str, Tensor]:
        return {"restored": model.filter(image, quality)}

    def contrast(*symbols_and_quality: Tensor) -> dict[str, Tensor]:
        *symbols, quality = symbols_and_quality
        return {"gain": model.contrast_gain(symbols, quality)}

    found = {
        "analysis": _graph(analysis, image),
        "synthesis": _graph(synthesis, levels),
        "filter": _graph(filters, image),
    }
    for number in range(always_on(len(levels)), len(levels)):
        coarser = dict(list(levels.items())[:number])
        found[f"contrast{number}"] = _graph(contrast, coarser)
    return found


def context(codec: Codec) -> bytes:
    """The rest of a codec: a NumPy archive without pickled objects.

    `config` is JSON: the architecture, how many pixels encoder and decoder look around, and the
    scores above which attention proposes the medium and the high level. `model` are the 4 bytes
    that name the codec in files, `tables` all counts of the coding tables, and the integer arrays
    are those of `Architecture.context_arrays`. The encoder's checks need of level N `energyN`,
    float32 (channels,), the squared norm in the picture of one in each channel; and `gainN` and
    `shiftN`, float32 (4, channels), the curves of gain and reconstruction points.
    """
    frozen, buffer = codec.model, io.BytesIO()
    shape = frozen.architecture
    more = {"encoder_halo": shape.encoder_halo, "decoder_halo": shape.decoder_halo}
    thresholds = frozen.transforms.thresholds() if shape.attention else ()
    config = json.dumps({**asdict(shape), **more, "thresholds": thresholds}, sort_keys=True)
    curves = {
        f"{ours}{number}": frozen.transform_weights[f"{theirs}{number}/curve"].astype(np.float32)
        for number in range(shape.resolutions)
        for ours, theirs in (("gain", "gain"), ("shift", "reconstruction"))
    }
    energies = {f"energy{number}": e for number, e in enumerate(frozen.transforms.energies)}
    arrays: dict[str, Any] = {
        "config": np.frombuffer(config.encode(), np.uint8),
        "model": np.frombuffer(frozen.id, np.uint8),
        "tables": frozen.tables.pack(),
        **frozen.context_weights,
        **curves,
        **energies,
    }
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _model(codec: Codec) -> MRDCAE:
    """A trainable model with the weights of a codec."""
    shape: Architecture = codec.architecture
    model = MRDCAE(**asdict(shape))
    model.build()
    codec.to_model(model)
    return model


def _graph(function: Callable[..., Any], inputs: Mapping[str, tuple[int | None, ...]]) -> bytes:
    """A function of tensors and the quality as an ONNX graph; its outputs are named by a dict."""
    with extra("onnx"):
        import tensorflow
        import tf2onnx
    shapes = {**inputs, "quality": (1,)}
    signature = [
        tensorflow.TensorSpec(shape, tensorflow.float32, name) for name, shape in shapes.items()
    ]
    traced = tensorflow.function(function, input_signature=signature, autograph=False)
    graph, _ = tf2onnx.convert.from_function(traced, signature, opset=OPSET)
    content: bytes = graph.SerializeToString()
    return content
