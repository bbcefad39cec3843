"""Long-format rows and files hold what the raw files hold."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import fake_experiment
import pyarrow.parquet as pq
import pytest

from gossipsim.results import Results, export, load, write_tables

COLUMNS = ["task", "model", "optimizer", "cell", "network.nodes", "network.topology", "seed", "status"]
COLUMNS += ["step", "epoch", "round", "metric", "value"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("workflow") / "exp_0001"
    statuses = {
        ("MLP", "SGD", "nodes=8, cycle_graph", 1): "diverged",
        ("MLP", "SGD", "nodes=4, cycle_graph", 0): "failed",
    }
    return load(fake_experiment.experiment(folder, models=("MLP",), statuses=statuses))


def raw(results: Results, name: str) -> list[dict[str, Any]]:
    """What the files hold, one number each, in the order of resolved.json."""
    found = []
    for entry in json.loads((results.directory / "resolved.json").read_text())["runs"]:
        path = results.directory / entry["directory"] / f"{name}.jsonl"
        for line in path.read_text().splitlines() if path.exists() else ():
            record = json.loads(line)
            for metric in [key for key in record if key not in ("step", "epoch", "round")]:
                found.append({"optimizer": entry["optimizer"], "seed": entry["seed"], "metric": metric})
                found[-1] |= {"step": record["step"], "value": record[metric]}
    return found


@pytest.mark.parametrize("records", ["history", "steps"])
def test_parquet_holds_every_number(results: Results, tmp_path: Path, records: Any) -> None:
    path = tmp_path / "out.parquet"
    export(results, path, records)
    table = pq.read_table(path)
    assert table.column_names == COLUMNS
    assert str(table.schema.field("network.nodes").type) == "int64"
    assert table.schema.metadata[b"key"].decode() == results.key
    rows, wanted = table.to_pylist(), raw(results, records)
    assert len(rows) == len(wanted) > 600
    for row, each in zip(rows, wanted, strict=True):
        assert repr({name: row[name] for name in each}) == repr(each | {"value": float(each["value"])})  # NaN too
    assert {row["network.topology"] for row in rows} == {"cycle_graph", "complete_graph"}
    assert {row["status"] for row in rows} == {"complete", "diverged"}
    if records == "steps":
        assert {row["epoch"] for row in rows} == {None}


def test_csv_is_the_same(results: Results, tmp_path: Path) -> None:
    export(results, tmp_path / "out.csv")
    export(results, tmp_path / "out.parquet")
    with (tmp_path / "out.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert list(written[0]) == COLUMNS
    for row, other in zip(written, rows, strict=True):
        assert (row["metric"], row["cell"]) == (other["metric"], other["cell"])
        assert repr(float(row["value"])) == repr(other["value"])


def test_runs_are_the_numbers_of_results_csv(results: Results) -> None:
    write_tables(results)
    with (results.directory / "results.csv").open(newline="") as file:
        wide = list(csv.DictReader(file))
    long = {(row["optimizer"], row["cell"], row["seed"], row["metric"]): row["value"] for row in results.long("runs")}
    filled = 0
    for row in wide:
        for name in [name for name in row if name.startswith(("last_", "best_")) and row[name]]:
            found = long[row["optimizer"], row["cell"], int(row["seed"]), name]
            assert repr(float(found)) == repr(float(row[name]))
            filled += 1
    assert filled == len(long)


def test_what_cannot_be_written_is_said(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"out\.xlsx: the name of an export ends in \.csv or \.parquet"):
        export(results, tmp_path / "out.xlsx")
    with pytest.raises(ValueError, match="'rows' is none of history, steps, runs"):
        list(results.long("rows"))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'gossipsim\[parquet\]'"):
        export(results, tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []


def test_swept_values_of_mixed_kinds_are_text(tmp_path: Path) -> None:
    cells = {"a": {"x": 1}, "b": {"x": "many"}, "c": {"x": {"class": "m.Of", "params": {"k": 2}}}, "d": {"x": [1, 2]}}
    results = load(fake_experiment.experiment(tmp_path / "exp_0001", models=("M",), optimizers=("O",), cells=cells))
    export(results, tmp_path / "out.parquet", "runs")
    found = {row["cell"]: row["x"] for row in pq.read_table(tmp_path / "out.parquet").to_pylist()}
    assert found == {"a": "1", "b": "many", "c": "Of(k=2)", "d": "[1, 2]"}
