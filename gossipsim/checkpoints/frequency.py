"""How often a run is saved: by its steps, or by the clock of rank 0."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}

PAUSE = 30
"""Times as long as the last checkpoint took is the least pause until the next one that a clock demands: 3 %."""


@dataclass
class Frequency:
    """When a checkpoint is due.

    Attributes:
        steps: from one to the next; 0 where the clock decides.
        seconds: from one to the next, at least.
        saved: the step of the last one.
    """

    steps: int = 0
    seconds: float = 0.0
    saved: int = 0
    _saved_at: float = field(default_factory=time.monotonic)
    _took: float = 0.0

    @classmethod
    def of(cls, every: int | str) -> Frequency:
        """From what `checkpoint_every` says.

        Raises:
            ValueError: unless it is a number of steps or a time.

        >>> Frequency.of(100).steps, Frequency.of("90s").seconds, Frequency.of("1.5m").seconds
        (100, 90.0, 90.0)
        """
        wrong = (
            'checkpoint_every must be a number of steps >= 1, a time such as "60s", "5m" or "1h", or null for never, '
            f"got {every!r}"
        )
        if isinstance(every, int) and not isinstance(every, bool) and every >= 1:
            return cls(steps=every)
        found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([smh])\s*", every) if isinstance(every, str) else None
        if found is None or float(found[1]) == 0:
            raise ValueError(wrong)
        return cls(seconds=float(found[1]) * UNITS[found[2]])

    def due_by_step(self, step: int) -> bool:
        """Whether a multiple of the steps has been reached since the last one; every process says the same."""
        return self.steps > 0 and step // self.steps > self.saved // self.steps

    def due_by_clock(self) -> bool:
        """Whether enough time has passed, for this process."""
        passed = time.monotonic() - self._saved_at
        return self.seconds > 0 and passed >= max(self.seconds, PAUSE * self._took)

    def note(self, step: int, seconds: float) -> None:
        """A checkpoint has been written at a step, which took so long."""
        self.saved, self._saved_at, self._took = step, time.monotonic(), seconds
