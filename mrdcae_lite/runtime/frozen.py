"""A trained model as a codec keeps it: arrays, their id, the codec file.

A codec file is a compressed NumPy archive without pickled objects. Its id, the first four bytes of
a SHA-256 over all arrays, stands in every `.mrdc` file that was made with it.
"""

import hashlib
import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding.entropy import Tables
from mrdcae_lite.core.architecture import Architecture, ArraySpec
from mrdcae_lite.core.files import write_atomically
from mrdcae_lite.runtime.context_model import IntegerContextModel
from mrdcae_lite.runtime.transforms import Transforms

Arrays = Mapping[str, NDArray[Any]]


class FrozenModel:
    """Everything that encoder and decoder share; it does not change.

    Args:
        architecture: of the model.
        transform_weights: float16 arrays, as `Architecture.transform_arrays` lists them.
        context_weights: integer arrays, as `Architecture.context_arrays` lists them.
        tables: the coding tables.

    Attributes:
        transforms: the networks.
        context_model: what predicts the coding tables.
        id: 4 bytes that name all of it.

    Raises:
        ValueError: if an array is missing, unknown, of another shape or type, or not finite.
    """

    def __init__(
        self,
        architecture: Architecture,
        transform_weights: Arrays,
        context_weights: Arrays,
        tables: Tables,
    ) -> None:
        _check_arrays(transform_weights, {s.name: s for s in architecture.transform_arrays()})
        _check_arrays(context_weights, {s.name: s for s in architecture.context_arrays()})
        self.architecture, self.tables = architecture, tables
        self.transform_weights = dict(transform_weights)
        self.context_weights = dict(context_weights)
        self.transforms = Transforms(architecture, transform_weights)
        self.context_model = IntegerContextModel(architecture, context_weights)
        self.id = self._digest()[:4]

    def __reduce__(self) -> tuple[Any, ...]:
        parts = self.architecture, self.transform_weights, self.context_weights, self.tables
        return FrozenModel, parts

    def _arrays(self) -> dict[str, NDArray[Any]]:
        config = json.dumps(asdict(self.architecture), sort_keys=True)
        return {
            "config": np.frombuffer(config.encode(), np.uint8),
            "tables": self.tables.pack(),
            **{f"transforms/{name}": array for name, array in self.transform_weights.items()},
            **{f"prior/{name}": array for name, array in self.context_weights.items()},
        }

    def _digest(self) -> bytes:
        digest = hashlib.sha256()
        for name, array in sorted(self._arrays().items()):
            little_endian = array.astype(array.dtype.newbyteorder("<"))
            digest.update(f"{name} {array.dtype.name} {array.shape};".encode())
            digest.update(little_endian.tobytes())
        return digest.digest()

    def save(self, path: str | Path) -> None:
        """Write the codec file."""
        arrays: dict[str, Any] = self._arrays()
        buffer = io.BytesIO()  # NumPy before 2.2 takes allow_pickle=False for one more array
        np.savez_compressed(buffer, **arrays)
        write_atomically(Path(path), buffer.getvalue())

    @classmethod
    def read(cls, content: bytes) -> "FrozenModel":
        """The model in the bytes of a codec file; raises `ValueError` for other bytes."""
        try:
            if content[:2] != b"PK":
                raise BadZipFile("no NumPy archive")
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = dict(archive)
            architecture = Architecture(**json.loads(arrays.pop("config").tobytes()))
            parts: dict[str, dict[str, NDArray[Any]]] = {"transforms": {}, "prior": {}}
            tables = Tables.unpack(arrays.pop("tables"))
            for name, array in arrays.items():
                kind, _, rest = name.partition("/")
                parts[kind][rest] = array
        except _DAMAGE as error:
            raise ValueError(
                f"expected a codec file written by Codec.save. Received something else ({error}). "
                "Fetch or train it again."
            ) from error
        return cls(architecture, parts["transforms"], parts["prior"], tables)


# What zipfile, zlib and NumPy raise on foreign and damaged archives; encrypted and unknown
# compression methods are RuntimeError and its subclass NotImplementedError.
_DAMAGE = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, RuntimeError),
    *(BadZipFile, zlib.error),
)


def _check_arrays(arrays: Arrays, specs: Mapping[str, ArraySpec]) -> None:
    for name in {*arrays, *specs}:
        found, spec = arrays.get(name), specs.get(name)
        if spec is None:
            wrong = f"no array {name}"
        elif found is None or found.shape != spec.shape or found.dtype.name != spec.dtype:
            wrong = f"array {name} of shape {spec.shape} and type {spec.dtype}"
        elif not np.isfinite(found).all():
            wrong = f"finite array {name}"
        else:
            continue
        raise ValueError(
            f"expected weights with {wrong}. They belong to another version of the model or are "
            "damaged: train or fetch them again."
        )
