"""`gossipsim check` without a file: what strategies and graphs claim, measured; also for a strategy of one's own."""

from __future__ import annotations

from typing import Any

import pytest

import gossipsim
from gossipsim.checks import shipped
from gossipsim.checks.theory import Outcome, named, of_networks, of_oracles, of_strategy, subject_of
from gossipsim.config.names import display
from gossipsim.spec import normalise
from tests.cli.conftest import Workplace

OWN = """
from gossipsim.strategies import Claims

class Plain:
    claims = {"exact": False, "exact_lmo": False}
    def init(self, nodes, mix):
        pass
    def round(self, nodes, mix):
        nodes.apply(nodes.grad())
        nodes.X[:] = mix(nodes.X)

class Boasting(Plain):
    claims = {"exact": True}

class WrongRate(Plain):
    claims = Claims(exact=False, exact_lmo=False, characteristic=lambda w, a: (1, -w * (1 - a / 2)))

class TwiceTheTraffic(Plain):
    def round(self, nodes, mix):
        super().round(nodes, mix)
        nodes.X[:] = mix(nodes.X)
"""


def _gates(outcomes: list[Outcome]) -> dict[str, bool | None]:
    return {outcome.gate: outcome.passed for outcome in outcomes}


def test_graphs_do_what_their_spectra_say_and_oracles_need_tracking() -> None:
    gates = _gates([*of_networks(), *of_oracles()])
    assert len(gates) >= 9
    assert all(gates.values())


@pytest.mark.parametrize("name", ["RelaySGD"])
def test_shipped_strategies_pass(name: str) -> None:
    gates = _gates(list(of_strategy(subject_of(named(name)))))
    assert len(gates) >= 4
    assert all(gates.values())


def test_every_shipped_strategy_is_checked() -> None:
    checked = {normalise(spec)["class"] for spec in shipped()}
    ours = {f"gossipsim.strategies.{name}" for name in gossipsim.strategies.__all__ if _is_strategy(name)}
    assert ours - checked == {"gossipsim.strategies.CECA"}  # it has a graph of its own
    assert len(checked) >= 20


def _is_strategy(name: str) -> bool:
    return name != "Strategy" and hasattr(getattr(gossipsim.strategies, name), "round")


def test_ones_own_is_held_to_its_claims(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write("own.py", OWN)
    monkeypatch.chdir(place.folder)
    found = {name: _gates(list(of_strategy(subject_of(f"own.{name}")))) for name in ("Plain", "Boasting", "WrongRate")}
    assert all(found["Plain"].values())
    assert [gate for gate, passed in found["Boasting"].items() if passed is False] == ["distance from the optimum, SGD"]
    broken = [gate for gate, passed in found["WrongRate"].items() if passed is False]
    assert "rate per round, eta h = 0.3" in broken
    assert "its recursion in every eigenspace of W" in broken


def test_the_command_prints_gates_and_laws(place: Workplace) -> None:
    place.write("own.py", OWN)
    outcome = place.call("check", "--strategy", "own.TwiceTheTraffic")
    assert outcome.code == 1, outcome.out + outcome.err
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines if "law: layout" in line] == ["PASS"]
    (traffic,) = [line for line in lines if "law: traffic" in line]
    assert traffic.startswith("FAIL")
    assert "the claim is" in traffic
    assert any(line.endswith("s") and "gates passed in" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategy", "own.Nowhere"], "no module 'own'"),
        (["--strategy", "EXTRAA"], "did you mean 'EXTRA'?"),
        (["--strategy", '{"params": {}}'], "give a class path"),
        (["--strategy", '{"class": '], "no JSON"),
        (["c.json", "--strategy", "EXTRA"], "not both"),
    ],
)
def test_bad_usage(arguments: list[str], message: str, place: Workplace) -> None:
    place.write("c.json", {"name": "x"})
    outcome = place.call("check", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert not outcome.out


@pytest.mark.slow
@pytest.mark.parametrize("spec", shipped(), ids=lambda spec: display(normalise(spec)))
def test_all_shipped_strategies_pass(spec: Any) -> None:
    outcomes = list(of_strategy(subject_of(spec)))
    assert [outcome for outcome in outcomes if outcome.passed is False] == []
