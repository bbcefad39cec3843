"""`gossipsim bench`: the suites by name, and what they measure besides time."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Workplace


@pytest.mark.slow
def test_matrix_oracles(place: Workplace) -> None:
    outcome = place.call("bench", "nuclear_lmo", "polar_factor", "--repeats", "1", "--json")
    assert outcome.code == 0, outcome.err
    suites = json.loads(outcome.out)["suites"]
    assert set(suites) == {"nuclear_lmo", "polar_factor"}
    figures = {name: {key: about["value"] for key, about in suite["figures"].items()} for name, suite in suites.items()}
    assert figures["nuclear_lmo"]["share_of_sigma_1"] == pytest.approx(1, abs=1e-4)
    assert 0 < figures["nuclear_lmo"]["ratio_to_svd"] < 0.5
    for shape in ("512x512", "3072x768"):
        assert figures["polar_factor"][f"{shape}_spectral_norm"] <= 1 + 1e-3
        assert 0.999 <= figures["polar_factor"][f"{shape}_share_of_optimum"] <= 1 + 1e-5


def test_a_table(place: Workplace) -> None:
    outcome = place.call("bench", "frank_wolfe_step", "--repeats", "1")
    assert outcome.code == 0, outcome.err
    assert all(f"{name}_ratio" in outcome.out for name in ("L1", "L2", "Linf"))


def test_an_unknown_suite(place: Workplace) -> None:
    outcome = place.call("bench", "frank_wolf_step")
    assert outcome.code == 2
    assert "frank_wolfe_step" in outcome.err


def test_the_list_measures_nothing(place: Workplace) -> None:
    outcome = place.call("bench", "--list")
    assert outcome.code == 0, outcome.err
    names = [line.split()[0] for line in outcome.out.splitlines()]
    assert {"one_node", "many_nodes", "mixing", "exchange", "startup", "scaling"} <= set(names)


def test_files(place: Workplace) -> None:
    outcome = place.call("bench", "frank_wolfe_step", "--repeats", "1", "-o", "f.json", "--plot", "f.svg")
    assert outcome.code == 0, outcome.err
    written = json.loads((place.folder / "f.json").read_text())
    assert "L1_us" in written["suites"]["frank_wolfe_step"]["figures"]
    drawn = (place.folder / "f.svg").read_text()
    assert drawn.startswith("<?xml")
    assert "frank_wolfe_step: L1_us" in drawn  # without a goal, as it is


@pytest.mark.parametrize(("option", "value"), [("--plot", "f.txt"), ("-o", "nowhere/f.json")])
def test_files_that_cannot_be(place: Workplace, option: str, value: str) -> None:
    outcome = place.call("bench", "frank_wolfe_step", option, value)
    assert outcome.code == 2
    assert value in outcome.err
