"""The laws: what must hold for every strategy, optimizer and topology, yours too.

    from gossipsim import testing

    def test_my_strategy_obeys_the_laws():
        testing.check("my_experiment.json")          # or one law at a time: testing.layout(config)

Each law takes an experiment (a path or a dict, as :func:`gossipsim.run`), of which the first run is examined, and
raises :class:`LawBroken` with what was expected and what was found.
"""

from gossipsim.testing.laws import (
    LAWS,
    check,
    contraction,
    degenerate,
    layout,
    light_cone,
    mean_preservation,
    relabelling,
    streams,
    traffic,
)
from gossipsim.testing.plain import plain_loop
from gossipsim.testing.playing import states, trajectory
from gossipsim.testing.resuming import resume
from gossipsim.testing.subject import Config, LawBroken, fingerprint

__all__ = [
    "LAWS",
    "Config",
    "LawBroken",
    "check",
    "contraction",
    "degenerate",
    "fingerprint",
    "layout",
    "light_cone",
    "mean_preservation",
    "plain_loop",
    "relabelling",
    "resume",
    "states",
    "streams",
    "traffic",
    "trajectory",
]
