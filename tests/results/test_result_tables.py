import json
import statistics
from pathlib import Path

import fake_experiment
import numpy as np
import pytest

from gossipsim.results import Results, higher_is_better, load, mean_table, write_tables

DIVERGED = ("MLP", "SGD", "nodes=8, cycle_graph", 1)
FAILED = ("MLP", "SGD", "nodes=4, cycle_graph", 0)
MISSING = ("MLP", "StochasticFrankWolfe", "nodes=4, cycle_graph", 1)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = fake_experiment.experiment(
        tmp_path_factory.mktemp("workflow") / "exp_0001",
        seeds=(0, 1, 2),
        statuses={DIVERGED: "diverged", FAILED: "failed", MISSING: "missing"},
    )
    write_tables(path)
    return path


@pytest.fixture(scope="module")
def results(directory: Path) -> Results:
    return load(directory)


def raw_last(run_directory: Path, metric: str) -> float:
    return float(json.loads((run_directory / "history.jsonl").read_text().splitlines()[-1])[metric])


def test_load_keeps_the_planned_order_and_every_state(directory: Path, results: Results) -> None:
    planned = json.loads((directory / "resolved.json").read_text())["runs"]
    assert [run.directory.relative_to(directory).as_posix() for run in results.runs] == [
        entry["directory"] for entry in planned
    ]
    found = {(*list(run.labels.values())[1:], run.seed): run for run in results.runs}
    assert found[DIVERGED].status == "diverged"
    assert found[FAILED].status == "failed"
    assert results.failed == [found[FAILED]]
    assert found[FAILED].error is not None
    assert found[FAILED].error["node"] == 3
    assert (found[MISSING].status, found[MISSING].history, found[MISSING].summary) == ("missing", [], {})
    complete = found["MLP", "SGD", "nodes=8, complete_graph", 2]
    assert complete.swept == {"network.nodes": 8, "network.topology": "networkx.complete_graph"}
    assert complete.history[0]["step"] == 0
    assert complete.timing[-1]["train_seconds"] > 0
    assert complete.parameters().shape == (8, 3)
    assert complete.parameters().dtype == np.float32
    with pytest.raises(FileNotFoundError, match="missing"):
        found[MISSING].parameters()


def test_results_csv_has_the_agreed_columns(directory: Path, results: Results) -> None:
    table = fake_experiment.rows(directory / "results.csv")
    columns = list(table[0])
    assert columns[:7] == ["task", "model", "optimizer", "cell", "seed", "status", "key"]
    assert columns[7:9] == ["network.nodes", "network.topology"]
    metrics = list(fake_experiment.history(0, 0)[0])
    last = [f"last_{name}" for name in metrics]
    best = [f"best_{name}" for name in metrics if "loss" in name or "accuracy" in name or name == "consensus"]
    assert columns[9:] == [*last, *best, "selected"]
    assert len(table) == len(results.runs)
    for run, row in zip(results.runs, table, strict=True):
        assert (row["status"], row["key"], int(row["seed"])) == (run.status, run.key, run.seed)
        if run.status == "complete":
            losses = [record["test_loss"] for record in run.history]
            accuracies = [record["test_accuracy"] for record in run.history]
            assert float(row["last_test_loss"]) == losses[-1]
            assert row["last_test_loss"] == repr(losses[-1])
            assert float(row["best_test_loss"]) == min(losses)
            assert float(row["best_test_accuracy"]) == max(accuracies)
        if run.status in {"failed", "missing"}:
            assert {row[name] for name in columns[9:]} == {""}


def test_csv_lines_end_as_rfc_4180_wants(directory: Path) -> None:
    for name in ("results.csv", "results_mean.csv"):
        content = (directory / name).read_bytes()
        assert content.endswith(b"\r\n")
        assert content.count(b"\n") == content.count(b"\r\n")


def test_means_equal_those_recomputed_from_the_raw_files(directory: Path, results: Results) -> None:
    table = fake_experiment.rows(directory / "results_mean.csv")
    assert len(table) == 16
    for row in table:
        runs = [run for run in results.runs if all(run.labels[label] == row[label] for label in run.labels)]
        complete = [run for run in runs if run.status == "complete"]
        assert int(row["n"]) == len(complete)
        assert int(row["diverged"]) == sum(run.status == "diverged" for run in runs)
        assert row["network.nodes"] == str(runs[0].swept["network.nodes"])
        for metric in ("test_accuracy", "consensus", "bytes_sent"):
            values = [raw_last(run.directory, metric) for run in complete]
            assert float(row[f"{metric}_mean"]) == pytest.approx(statistics.mean(values), rel=1e-14)
            assert float(row[f"{metric}_std"]) == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-18)
    broken = next(row for row in table if (row["model"], row["optimizer"], row["cell"]) == DIVERGED[:3])
    assert (broken["n"], broken["diverged"]) == ("2", "1")


def test_one_seed_has_no_standard_deviation(tmp_path: Path) -> None:
    directory = fake_experiment.experiment(tmp_path / "exp_0001", seeds=(5,), models=("MLP",))
    write_tables(directory)
    for row in fake_experiment.rows(directory / "results_mean.csv"):
        assert row["n"] == "1"
        assert row["test_accuracy_mean"]
        assert row["test_accuracy_std"] == ""
    assert "test_accuracy_std" not in mean_table(load(directory))[0]


def test_names_with_commas_quotes_and_newlines_survive_the_csv(tmp_path: Path) -> None:
    name = 'a,"b"\r\nc; é'
    directory = fake_experiment.experiment(
        tmp_path / "exp_0001", models=(name,), cells={"one": {"a.b": {"class": "x.Y", "params": {"p": [1, None]}}}}
    )
    write_tables(directory)
    table = fake_experiment.rows(directory / "results.csv")
    assert {row["model"] for row in table} == {name}
    assert json.loads(table[0]["a.b"]) == {"class": "x.Y", "params": {"p": [1, None]}}


def test_summary_counts_states_and_names_the_best_run(directory: Path, results: Results) -> None:
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["runs"] == 48
    assert summary["status"] == {"failed": 1, "complete": 45, "missing": 1, "diverged": 1}
    best = summary["best"]["digits"]["test_accuracy"]
    values = [run.best["test_accuracy"] for run in results.runs if run.status == "complete"]
    assert best["value"] == max(values)
    assert best["key"] in {run.key for run in results.runs}
    assert len(summary["directories"]) == 48


def test_torn_history_is_read_up_to_the_tear(tmp_path: Path) -> None:
    directory = fake_experiment.experiment(tmp_path / "exp_0001", models=("MLP",))
    history = load(directory).runs[0].directory / "history.jsonl"
    history.write_bytes(history.read_bytes()[:-20])
    assert len(load(directory).runs[0].history) == fake_experiment.EVALUATIONS - 1


def test_load_takes_the_newest_experiment_of_a_workflow(tmp_path: Path) -> None:
    for number in (2, 10):
        fake_experiment.experiment(tmp_path / f"exp_{number:04d}", models=("MLP",), name=f"number {number}")
    (tmp_path / "exp_0011").mkdir()
    assert load(tmp_path).name == "number 10"


def test_load_says_what_a_wrong_directory_is(tmp_path: Path) -> None:
    directory = fake_experiment.experiment(tmp_path / "exp_0001", models=("MLP",))
    run = load(directory).runs[0].directory
    with pytest.raises(FileNotFoundError, match=r"it belongs to the experiment .*exp_0001, give that"):
        load(run)
    with pytest.raises(FileNotFoundError, match="no such directory"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="neither an experiment"):
        load(tmp_path / "empty")


@pytest.mark.parametrize(
    ("metric", "higher"),
    [
        ("val_accuracy", True),
        ("local_test_accuracy_worst", True),
        ("val_f1", True),
        ("train_loss", False),
        ("consensus", False),
        ("suboptimality", False),
        ("fw_gap", False),
        ("feasibility", False),
        ("distance", False),
    ],
)
def test_direction_of_metrics(metric: str, higher: bool) -> None:
    assert higher_is_better(metric) is higher
