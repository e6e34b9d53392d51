"""The measurements of an experiment: what its notebook shows last, and what becomes its result."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mrdcae_lite.evaluation.report import rounded

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
        mean = rounded(finite.mean()) if len(finite) else None
        self.values[name] = {
            "value": mean,
            "unit": unit,
            "n": len(finite),
            "spread": rounded(finite.std(ddof=1)) if len(finite) > 1 else None,
            "tolerance": rounded(abs(mean or 0) / 100 if tolerance is None else tolerance),
        }

    def columns(self, name: str, /, **columns: Iterable[Any]) -> None:
        """Note columns of numbers or words for a figure."""
        self.series[name] = {
            key: [rounded(v if isinstance(v, str) else float(v)) for v in values]
            for key, values in columns.items()
        }

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        lines = [f"{key}: {v['value']} {v['unit']}, n = {v['n']}" for key, v in self.values.items()]
        content = {"values": self.values, "series": self.series}
        return {MEASURED: content, "text/plain": "\n".join(lines)}
