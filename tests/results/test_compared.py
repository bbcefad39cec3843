"""Two experiments side by side: matched cells, differences, bits, regressions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_experiment
import pytest
from scipy import stats
from typer.testing import CliRunner

from gossipsim.cli import app
from gossipsim.results import load, read_json, write_json
from gossipsim.results.compared import compare_experiments

CELLS = {"ring": {"t": "ring"}, "star": {"t": "star"}}


def experiment(directory: Path, **options: Any) -> Path:
    options = {"models": ("M",), "optimizers": ("SGD",), "cells": CELLS, "seeds": (0, 1, 2)} | options
    return fake_experiment.experiment(directory, **options)


def change(directory: Path, accuracy: Callable[[int, float], float]) -> None:
    """Other last test accuracies in the ring cell, of seed and value."""
    for path in directory.glob("runs/*/M/*/ring/*/history.jsonl"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        records[-1]["test_accuracy"] = accuracy(int(path.parent.name[5:]), records[-1]["test_accuracy"])
        fake_experiment.write_lines(path, records)
        summary = read_json(path.with_name("summary.json"))
        write_json(path.with_name("summary.json"), summary | {"params_sha256": f"other{path.parent.name}"})


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return experiment(tmp_path / "a" / "exp_0001"), experiment(tmp_path / "b" / "exp_0001")


def call(*arguments: object) -> tuple[int, str]:
    outcome = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    return outcome.exit_code, outcome.output


def test_an_experiment_equals_its_copy(pair: tuple[Path, Path]) -> None:
    code, text = call(*pair, "--fail-on-regression")
    assert code == 0
    assert "2 cells in both: 2 with the same bits, 0 worse in B" in text
    assert "configuration" not in text


def test_a_difference_is_that_of_the_raw_files(pair: tuple[Path, Path]) -> None:
    change(pair[1], lambda seed, value: value - 0.05 - 0.001 * seed)
    code, text = call(*pair, "--json")
    assert code == 0
    found = json.loads(text)
    assert found["metric"] == "test_accuracy"
    ring, star = found["pairs"]
    assert (ring["same_bits"], ring["shared"], star["same_bits"]) == (0, 3, 3)
    assert (ring["worse"], star["worse"]) == (True, False)
    values = [[run.last["test_accuracy"] for run in load(path).cells[0].runs] for path in pair]
    wanted = stats.ttest_rel(values[1], values[0])
    assert ring["change"]["difference"] == pytest.approx(-0.051)
    assert ring["change"]["p"] == pytest.approx(wanted.pvalue, rel=1e-6)
    assert ring["change"]["high"] == pytest.approx(wanted.confidence_interval(0.95).high)


@pytest.mark.parametrize(
    ("accuracy", "more", "code"),
    [
        (lambda seed, value: value - 0.05 - 0.001 * seed, [], 1),
        (lambda seed, value: value - 0.05 - 0.001 * seed, ["--tolerance", "0.1"], 0),
        (lambda seed, value: value - 0.05 * seed, [], 0),  # its interval contains 0
        (lambda seed, value: value + 0.05 + 0.001 * seed, [], 0),
        (lambda seed, value: value - 0.05, ["--metric", "test_loss"], 0),
    ],
)
def test_only_a_difference_that_is_certain_and_bad_fails(
    pair: tuple[Path, Path], accuracy: Callable[[int, float], float], more: list[str], code: int
) -> None:
    change(pair[1], accuracy)
    assert call(*pair, *more)[0] == 0
    assert call(*pair, *more, "--fail-on-regression")[0] == code


def test_lost_seeds_are_a_regression(tmp_path: Path) -> None:
    a = experiment(tmp_path / "a")
    b = experiment(tmp_path / "b", statuses={("M", "SGD", "star", 1): "failed"})
    code, text = call(a, b, "--fail-on-regression")
    assert code == 1
    assert "1 seeds lost" in text
    assert call(b, a, "--fail-on-regression")[0] == 0


def test_one_seed_has_no_interval_and_fails_nothing(tmp_path: Path) -> None:
    a, b = (experiment(tmp_path / name, seeds=(0,)) for name in "ab")
    change(b, lambda _, value: value - 0.5)
    code, text = call(a, b, "--fail-on-regression")
    assert code == 0
    assert "one seed: none" in text


def test_what_only_one_has_and_what_differs_around_it(tmp_path: Path) -> None:
    a = experiment(tmp_path / "a", cells={"ring": {"t": "ring"}, "path": {"t": "path"}})
    b = experiment(tmp_path / "b", name="another")
    write_json(b / "env.json", read_json(b / "env.json") | {"version": "0.2.0", "command": "other"})
    compared = compare_experiments(load(a), load(b), "test_loss")
    assert [labels[-1] for labels in compared.only_a] == ["path"]
    assert [labels[-1] for labels in compared.only_b] == ["star"]
    assert compared.configuration == {"name": ("digits_ring", "another")}
    assert compared.environment == {"version": ("0.1.0", "0.2.0")}


def test_bad_usage(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert call(pair[0], tmp_path / "nowhere")[0] == 2
    code, text = call(*pair, "--metric", "f1")
    assert (code, "not recorded in both experiments; epoch" in text) == (2, True)
    other = experiment(tmp_path / "c", optimizers=("Adam",))
    code, text = call(pair[0], other, "--fail-on-regression")
    assert (code, "no cell in common" in text) == (2, True)
