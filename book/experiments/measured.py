"""The measurements of an experiment: what its notebook shows last, and what becomes its result."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MEASURED = "application/vnd.mrdcae.measured+json"
"""The MIME type by which measurements are found among the outputs of a notebook."""


@dataclass
class Measured:
    """The measurements of a run; shown as the last value of a notebook, they are its result."""

    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    series: dict[str, dict[str, list[Any]]] = field(default_factory=dict)

    def value(
        self, name: str, values: float | Iterable[float], unit: str, tolerance: float | None = None
    ) -> None:
        """Note a number, or the mean of several with their standard deviation.

        `tolerance` says how far a repetition on another machine may lie off, in the same unit;
        without it that is one hundredth of the value. What is not finite is left out of a mean.
        """
        several = np.atleast_1d(np.asarray(values, np.float64))
        finite = several[np.isfinite(several)]
        mean = plain(finite.mean()) if len(finite) else None
        self.values[name] = {
            "value": mean,
            "unit": unit,
            "n": len(finite),
            "spread": plain(finite.std(ddof=1)) if len(finite) > 1 else None,
            "tolerance": plain(abs(mean or 0) / 100 if tolerance is None else tolerance),
        }

    def columns(self, name: str, /, **columns: Iterable[Any]) -> None:
        """Note columns of numbers or words for a figure."""
        self.series[name] = {
            key: [plain(v if isinstance(v, str) else float(v)) for v in values]
            for key, values in columns.items()
        }

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        lines = [f"{key}: {v['value']} {v['unit']}, n = {v['n']}" for key, v in self.values.items()]
        content = {"values": self.values, "series": self.series}
        return {MEASURED: content, "text/plain": "\n".join(lines)}


def plain(value: Any) -> Any:
    """The same nest of mappings and lists: numbers to six digits, None for what is not finite."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, str | int):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
