"""The sweep of the documentation as a person runs it: interrupted, resumed, its tables recomputed from raw files."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "configs" / "sweeps" / "digits.json"
RUNS = 3 * 4 * 2 * 3
TIMEOUT = 900

Row = dict[str, str]


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gossipsim", "run", str(CONFIG), "--jobs", "2", "--workflow", "wf"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it: its children too
    try:
        return subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
    finally:
        signal.signal(signal.SIGINT, before)


def statuses(folder: Path) -> dict[Path, str]:
    found = {}
    for path in sorted((folder / "wf").glob("exp_*/runs/**/run.json")):
        found[path.parent] = json.loads(path.read_text())["status"]
    return found


def wait_for(folder: Path, complete: int) -> None:
    deadline = time.monotonic() + TIMEOUT
    while sum(status == "complete" for status in statuses(folder).values()) < complete:
        assert time.monotonic() < deadline, statuses(folder)
        time.sleep(0.2)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished experiment, which was interrupted once on the way."""
    folder = tmp_path_factory.mktemp("sweep")
    first = start(folder)
    try:
        wait_for(folder, complete=10)
        first.send_signal(signal.SIGINT)
        output, _ = first.communicate(timeout=60)
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)
    assert first.returncode == 130, output
    assert "the same command resumes" in output
    between = statuses(folder)
    done = {path: (path / "history.jsonl").stat().st_mtime_ns for path in between if between[path] == "complete"}
    assert 10 <= len(done) < RUNS
    assert set(between.values()) <= {"complete", "interrupted"}

    second = start(folder)
    output, _ = second.communicate(timeout=TIMEOUT)
    assert second.returncode == 0, output
    assert [path.name for path in (folder / "wf").glob("exp_*")] == ["exp_0001"]
    assert f"{RUNS} runs, {len(done)} of them exist already" in output
    kept = {path: (path / "history.jsonl").stat().st_mtime_ns for path in done}
    assert kept == done, "what had a result was run again"
    return folder / "wf" / "exp_0001"


def rows(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def last_values(run: Path) -> dict[str, float]:
    """The last value of each number, read from the raw file."""
    found: dict[str, float] = {}
    for line in (run / "history.jsonl").read_text().splitlines():
        record: dict[str, Any] = json.loads(line)
        found |= {name: float(value) for name, value in record.items() if value is not None}
    return found


def of_cells(experiment: Path) -> dict[tuple[str, ...], list[dict[str, float]]]:
    """The raw last values of the seeds of each (optimizer, cell)."""
    cells: dict[tuple[str, ...], list[dict[str, float]]] = {}
    for path in sorted(experiment.glob("runs/**/run.json")):
        record = json.loads(path.read_text())
        cells.setdefault((record["optimizer"], record["cell"]), []).append(last_values(path.parent))
    return cells


def test_every_run_is_there_and_complete(experiment: Path) -> None:
    table = rows(experiment / "results.csv")
    assert len(table) == RUNS
    assert {row["status"] for row in table} == {"complete"}
    assert len({row["network.topology"] for row in table}) == 4
    assert len({row["partition"] for row in table}) == 2
    raw = of_cells(experiment)
    assert len(raw) == RUNS // 3
    for row in table:
        found = [seed["test_accuracy"] for seed in raw[row["optimizer"], row["cell"]]]
        assert float(row["last_test_accuracy"]) in found


@pytest.mark.parametrize("metric", ["test_accuracy", "train_loss", "consensus"])
def test_mean_std_and_interval_follow_from_the_raw_files(experiment: Path, metric: str) -> None:
    raw = of_cells(experiment)
    table = rows(experiment / "results_mean.csv")
    assert len(table) == len(raw)
    for row in table:
        values = [seed[metric] for seed in raw[row["optimizer"], row["cell"]]]
        mean, std = statistics.fmean(values), statistics.stdev(values)
        half = stats.t.ppf(0.975, len(values) - 1) * std / math.sqrt(len(values))
        assert int(row["n"]) == len(values) == 3
        assert float(row[f"{metric}_mean"]) == pytest.approx(mean, rel=1e-12)
        assert float(row[f"{metric}_std"]) == pytest.approx(std, rel=1e-9, abs=1e-15)
        assert float(row[f"{metric}_ci95"]) == pytest.approx(half, rel=1e-9, abs=1e-15)


def test_seeds_are_paired_over_cells(experiment: Path) -> None:
    """Cells that share a seed start from the same parameters: the same first loss on the same data."""
    firsts: dict[tuple[str, str], set[float]] = {}
    for path in experiment.glob("runs/**/run.json"):
        record = json.loads(path.read_text())
        first = json.loads((path.parent / "history.jsonl").read_text().splitlines()[0])
        if record["optimizer"] != "SFW-L2":  # whose start is projected onto its set
            firsts.setdefault((str(record["seed"]), record["swept"]["partition"]["name"]), set()).add(
                first["test_loss"]
            )
    assert {len(values) for values in firsts.values()} == {1}
    assert len({value for values in firsts.values() for value in values}) == 3


def test_the_report_and_the_tables_for_a_paper_show_it(experiment: Path) -> None:
    page = (experiment / "report.html").read_bytes()
    assert len(page) <= 8_000_000
    raw = of_cells(experiment)
    best = max(raw, key=lambda cell: statistics.fmean(seed["test_accuracy"] for seed in raw[cell]))
    mean = statistics.fmean(seed["test_accuracy"] for seed in raw[best])
    assert f"{mean:.4f}".encode() in page
    markdown = (experiment / "tables" / "digits" / "MLP.md").read_text()
    assert best[0] in markdown
    bold = re.search(r"\*\*(0\.(\d+)) ±", next(line for line in markdown.splitlines() if best[0] in line))
    assert bold is not None
    assert abs(float(bold[1]) - mean) <= 0.5 * 10 ** -len(bold[2]) * (1 + 1e-9)
    assert list(experiment.glob("plots/digits/MLP/*.png"))
    assert list(experiment.glob("plots/digits/MLP/steps/*.pdf"))
