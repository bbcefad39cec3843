"""A sweep as jobs of a cluster, through submitit's local executor: the same bytes as one command, each run once."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gossipsim.commands.slurm import _minutes
from gossipsim.slurm import shares
from tests.cli.conftest import Workplace, config

pytest.importorskip("submitit")


def test_shares_are_even_and_complete() -> None:
    runs = list(range(10))
    assert [len(part) for part in shares(runs, job_count=4, runs_per_job=None)] == [2, 3, 3, 2]
    assert shares(runs, job_count=None, runs_per_job=4) == [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9]]
    assert len(shares(runs, job_count=99, runs_per_job=None)) == 10
    assert len(shares(runs, job_count=None, runs_per_job=None)) == 10
    assert shares([], job_count=3, runs_per_job=None) == []


def test_times() -> None:
    assert [_minutes(text) for text in ("90", "02:30:00", "0:00:30")] == [90, 150, 1]
    for text in ("1h", "0", "1:2"):
        with pytest.raises(ValueError, match=f"--time {text}"):
            _minutes(text)


@pytest.mark.slow
def test_two_jobs_share_the_runs_of_an_experiment(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    place.write("c.json", config(strategy={"class": "mine.Breaks"}, grid={"strategy.params.how": ["raise", "not"]}))
    command = ["slurm", "c.json", "--executor", "local", "--job-count", "2", "--jobs", "1", "--seeds", "0:2"]
    outcome = place.call(*command, "--processes", "1", "--wait")
    assert outcome.code == 1, outcome
    assert "2 run(s) failed" in outcome.out
    records = place.records()
    assert sorted(record["status"] for record in records) == ["complete", "complete", "failed", "failed"]
    logs = [path.read_text() for path in sorted(Path("wf/exp_0001/slurm").glob("*_log.out"))]
    assert [log.count("seed ") for log in logs] == [2, 2]
    assert len(Path("wf/exp_0001/results.csv").read_text().splitlines()) == 5
    again = place.run(json.loads(Path("c.json").read_text()), "--new", "--seeds", "0:2")
    assert again.code == 1
    for path in sorted(Path("wf/exp_0001").glob("runs/**/history.jsonl")):
        assert path.read_bytes() == Path(str(path).replace("exp_0001", "exp_0002")).read_bytes()


def test_without_submitit(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    place.write("c.json", config())
    outcome = place.call("slurm", "c.json")
    assert outcome.code == 2
    assert outcome.err == "gossipsim slurm needs submitit: pip install 'gossipsim[slurm]'\n"
    assert not Path("wf").exists()


def test_without_a_cluster(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    place.write("c.json", config())
    outcome = place.call("slurm", "c.json")
    assert outcome.code == 2
    assert "--executor local needs no cluster" in outcome.err
    assert not Path("wf").exists()
