"""When a checkpoint is due."""

from __future__ import annotations

import time

import pytest

from gossipsim.checkpoints import Frequency


@pytest.mark.parametrize("every", [0, -1, True, 1.5, "60", "s", "0s", "-1s", "1d", "", "10 steps", None, [1]])
def test_what_is_neither_steps_nor_a_time(every: object) -> None:
    with pytest.raises(ValueError, match='checkpoint_every must be a number of steps >= 1, a time such as "60s"'):
        Frequency.of(every)  # type: ignore[arg-type]


def test_steps_are_due_at_the_first_round_behind_each_multiple() -> None:
    frequency, saved = Frequency.of(10), []
    for step in range(3, 60, 4):  # rounds of 4 local steps
        if frequency.due_by_step(step):
            saved.append(step)
            frequency.note(step, 0.0)
    assert saved == [11, 23, 31, 43, 51]
    assert not frequency.due_by_clock()


def test_time_is_due_after_it_has_passed_and_not_before_the_last_one_has_been_earned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    frequency = Frequency(seconds=30.0)
    frequency.note(0, seconds=0.0)
    assert not frequency.due_by_clock()
    now += 30.0
    assert frequency.due_by_clock()
    assert not frequency.due_by_step(10**6)
    frequency.note(5, seconds=2.0)
    now += 59.0
    assert not frequency.due_by_clock()
    now += 1.0
    assert frequency.due_by_clock()
