"""What targets took, and which candidates stand for their optimizers."""

import json
import statistics
from pathlib import Path
from typing import Any

import fake_experiment
import pytest

from gossipsim.results import Cell, Results, Run, load, mean_table, reached, write_json, write_tables
from gossipsim.results.selection import select

TARGETS = {"test_accuracy": [0.69, 0.999], "train_loss": [1.0]}


def run(history: list[dict[str, Any]], seed: int = 0, status: str = "complete", **more: Any) -> Run:
    labels = {"task": "t", "model": "m", "optimizer": more.pop("optimizer", "o"), "cell": "c"}
    return Run(Path(f"{labels['optimizer']}/{seed}"), "key", seed, labels, {}, status, history=history, **more)


def test_a_target_is_reached_by_the_first_record_that_is_good_enough() -> None:
    history = [
        {"epoch": k, "round": 10 * k, "bytes_sent": 100 * k, "sim_time": k / 2, "test_accuracy": a, "train_loss": 1 - a}
        for k, a in enumerate([0.1, 0.7, 0.5, 0.9])
    ]
    found = reached(run(history), {"test_accuracy": [0.7, 0.71, 0.95], "train_loss": [0.9, 0.1]})
    assert found["rounds_to_test_accuracy_0.7"] == 10  # equality is enough, what comes later does not matter
    assert found["epochs_to_test_accuracy_0.71"] == 3
    assert found["bytes_to_train_loss_0.9"] == 0  # at the start already
    assert found["sim_seconds_to_train_loss_0.1"] == 1.5
    assert not [column for column in found if "0.95" in column]


def test_what_is_not_a_number_reaches_nothing() -> None:
    history = [{"epoch": 0, "train_loss": float("nan")}, {"epoch": 1, "train_loss": None}, {"epoch": 2}]
    assert reached(run(history), {"train_loss": [1.0]}) == {}
    assert reached(run([{"epoch": 1, "train_loss": 0.5}]), {"train_loss": [1.0]}) == {"epochs_to_train_loss_1": 1}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each cell and model: SGD, tuned over two lrs, of which one loses a seed in one cell; and Adam."""
    folder = tmp_path_factory.mktemp("workflow") / "exp_0001"
    path = fake_experiment.experiment(
        folder,
        models=("MLP",),
        optimizers=("SGD(lr=0.1)", "SGD(lr=1)", "Adam"),
        seeds=(0, 1, 2),
        statuses={("MLP", "SGD(lr=1)", "nodes=8, cycle_graph", 2): "diverged"},
    )
    resolved = json.loads((path / "resolved.json").read_text())
    for entry in resolved["runs"]:
        if entry["optimizer"] != "Adam":
            lr = float(entry["optimizer"].partition("lr=")[2][:-1])
            entry["tuned"] = {"optimizer": "SGD", "params": {"lr": lr}}
    write_json(path / "resolved.json", resolved | {"targets": TARGETS, "selection": {}})
    write_tables(path)
    return path


@pytest.fixture(scope="module")
def results(directory: Path) -> Results:
    return load(directory)


def raw(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.directory / "history.jsonl").read_text().splitlines()]


def test_targets_are_columns_that_the_raw_files_confirm(directory: Path, results: Results) -> None:
    table = fake_experiment.rows(directory / "results.csv")
    for row, run in zip(table, results.runs, strict=True):
        wanted = next((str(r["round"]) for r in raw(run) if r["test_accuracy"] >= 0.69), "")
        assert row["rounds_to_test_accuracy_0.69"] == wanted
        wanted = next((str(r["bytes_sent"]) for r in raw(run) if r["train_loss"] <= 1), "")
        assert row["bytes_to_train_loss_1"] == wanted
        assert row["epochs_to_test_accuracy_0.999"] == row["sim_seconds_to_train_loss_1"] == ""
    assert {row["rounds_to_test_accuracy_0.69"] for row in table} > {""}


def test_their_means_say_how_many_seeds_got_there(directory: Path, results: Results) -> None:
    table = fake_experiment.rows(directory / "results_mean.csv")
    counts = set()
    for row, cell in zip(table, results.cells, strict=True):
        taken = [next((r["epoch"] for r in raw(run) if r["test_accuracy"] >= 0.69), None) for run in cell.complete]
        reached_by = [value for value in taken if value is not None]
        assert int(row["epochs_to_test_accuracy_0.69_n"]) == len(reached_by)
        assert int(row["epochs_to_test_accuracy_0.999_n"]) == 0
        assert row["epochs_to_test_accuracy_0.999_mean"] == ""
        if reached_by:
            assert float(row["epochs_to_test_accuracy_0.69_mean"]) == pytest.approx(statistics.fmean(reached_by))
        counts.add(len(reached_by))
    assert len(counts) > 1


def test_the_best_by_validation_stands_for_its_optimizer(directory: Path, results: Results) -> None:
    assert len(results.selections) == 4
    for selection in results.selections:
        assert (selection.optimizer, selection.metric, len(selection.candidates)) == ("SGD", "val_accuracy", 2)
        means = {
            each.optimizer: statistics.fmean(raw(run)[-1]["val_accuracy"] for run in each.cell.complete)
            for each in selection.candidates
        }
        if selection.cell == "nodes=8, cycle_graph":
            del means["SGD(lr=1)"]  # it lost a seed
        assert selection.chosen is not None
        assert selection.chosen.optimizer == max(means, key=lambda name: means[name])
    lost = next(each for each in results.selections if each.cell == "nodes=8, cycle_graph").candidates[1]
    assert (lost.diverged, lost.lost, lost.seeds) == (1, 1, 3)
    chosen = {(each.cell, each.chosen.optimizer) for each in results.selections if each.chosen}
    for row in [
        *fake_experiment.rows(directory / "results.csv"),
        *fake_experiment.rows(directory / "results_mean.csv"),
    ]:
        wanted = "" if row["optimizer"] == "Adam" else str(int((row["cell"], row["optimizer"]) in chosen))
        assert row["selected"] == wanted
    standing = {(cell.labels["cell"], cell.labels["optimizer"]) for cell in results.selected_cells}
    assert standing == chosen | {(cell, "Adam") for cell in fake_experiment.CELLS}


def tuned(lr: float, *ends: dict[str, float], status: str = "complete") -> Cell:
    name = f"SGD(lr={lr:g})"
    of = {"optimizer": "SGD", "params": {"lr": lr}}
    runs = [run([end], seed, status, optimizer=name, tuned=of) for seed, end in enumerate(ends)]
    return Cell(runs[0].labels, {}, runs)


def test_the_test_set_never_chooses() -> None:
    cells = [tuned(0.1, {"val_loss": 1.0, "test_accuracy": 0.9}), tuned(1, {"val_loss": 0.5, "test_accuracy": 0.1})]
    (selection,) = select(cells)
    assert selection.metric == "val_loss"
    assert selection.chosen is not None
    assert selection.chosen.params == {"lr": 1}
    with pytest.raises(ValueError, match="the test set is not for choosing"):
        select(cells, "test_accuracy")
    with pytest.raises(ValueError, match="the test set is not for choosing"):
        select(cells, "local_test_accuracy_worst")


def test_a_metric_may_be_named_and_ties_go_to_the_first() -> None:
    cells = [tuned(0.1, {"suboptimality": 1.0, "train_loss": 3.0}), tuned(1, {"suboptimality": 1.0, "train_loss": 2.0})]
    for metric, lr in ((None, 0.1), ("train_loss", 1)):
        (selection,) = select(cells, metric)
        assert selection.chosen is not None
        assert selection.chosen.params == {"lr": lr}


def test_before_there_is_a_value_nothing_is_chosen_and_the_first_stands() -> None:
    cells = [tuned(0.1, {}, status="missing"), tuned(1, {}, status="failed")]
    (selection,) = select(cells)
    assert selection.chosen is None
    assert selection.standing is cells[0]
    results = Results(Path("x"), [run for cell in cells for run in cell.runs])
    assert [row["selected"] for row in results.table()] == [0, 0]
    assert [row["selected"] for row in mean_table(results)] == [0, 0]
    assert [cell.labels["optimizer"] for cell in results.selected_cells] == ["SGD(lr=0.1)"]
