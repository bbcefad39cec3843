"""Which steps leave a frame in nodes.jsonl: every node's distance to the mean, and at evaluations its own metrics.

The steps follow from the length of a run alone, so that they are the same however it is hosted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_NODES = 256
"""With more nodes than this, frames are written where they are asked for."""

MOST = 100
"""Frames at equal distances, and again as many at evaluations."""


@dataclass(frozen=True)
class Frames:
    """Frames every `every` steps and at every evaluation that is a multiple of `evaluations` steps; 0 is never."""

    every: int
    evaluations: int

    @classmethod
    def plan(cls, *, nodes: int, total: int, evaluation: int | None, asked: int | None) -> Frames:
        """
        Args:
            total: steps of the run.
            evaluation: steps from one evaluation to the next, where there are any on the way.
            asked: steps from frame to frame, where they are asked for.

        >>> Frames.plan(nodes=8, total=1000, evaluation=300, asked=None)
        Frames(every=10, evaluations=300)
        >>> Frames.plan(nodes=1, total=1000, evaluation=300, asked=None)
        Frames(every=0, evaluations=0)
        """
        if asked is not None:
            return cls(asked, 0)
        if not 1 < nodes <= MOST_NODES:
            return cls(0, 0)
        evaluations = 0 if evaluation is None else evaluation * -(-total // (evaluation * MOST))
        return cls(-(-total // MOST), evaluations)

    def __bool__(self) -> bool:
        return self.every > 0

    def due(self, step: int) -> bool:
        """Whether a step has a frame; the last one has one too."""
        return any(period and step % period == 0 for period in (self.every, self.evaluations))


def frame(
    step: int, round_: int, distances: Sequence[float], own: Mapping[str, Sequence[float | None]]
) -> dict[str, Any]:
    """A record of nodes.jsonl; six digits of each number are kept, more than a colour or a curve can show."""
    values: dict[str, Sequence[float | None]] = {"distance": distances, **own}
    return {"step": step, "round": round_} | {name: [_six(v) for v in each] for name, each in values.items()}


def _six(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
