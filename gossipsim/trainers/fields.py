"""The fields of steps.jsonl that a run can ask for, and how often each is written."""

from __future__ import annotations

STEP_FIELDS = ("batch_loss", "consensus", "suboptimality", "distance")
"""Fields of steps.jsonl that are written every `log_every` steps."""

FRAMES = "nodes"
"""What `log` calls the frames of nodes.jsonl."""

EXTRA_STEP_FIELDS = (
    "train_loss",
    "val_loss",
    "val_accuracy",
    "test_loss",
    "test_accuracy",
    "learning_rate",
    "fw_gap",
    "feasibility",
)
"""Further fields that `log` can ask for."""


def frequencies(log_every: int, log: dict[str, int]) -> dict[str, int]:
    """The steps from one record of a field to the next.

    Raises:
        ValueError: for a field that there is not, and for a number of steps below 1.

    >>> frequencies(10, {"distance": 1})
    {'batch_loss': 10, 'consensus': 10, 'suboptimality': 10, 'distance': 1}
    """
    known = (*STEP_FIELDS, *EXTRA_STEP_FIELDS, FRAMES)
    for name, every in log.items():
        if name not in known:
            raise ValueError(f"log: unknown field {name!r}; known are {', '.join(known)}")
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"log.{name} must be a number of steps >= 1, got {every!r}")
    return dict.fromkeys(STEP_FIELDS, log_every) | log
