"""`gossipsim bench`: the suites by name, and what they measure besides time."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Workplace


@pytest.mark.slow
def test_matrix_oracles(place: Workplace) -> None:
    outcome = place.call("bench", "nuclear_lmo", "polar_factor", "--repeats", "1", "--json")
    assert outcome.code == 0, outcome.err
    figures = json.loads(outcome.out)
    assert set(figures) == {"nuclear_lmo", "polar_factor"}
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
