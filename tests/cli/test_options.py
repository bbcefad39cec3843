"""The options of a run: what is run, skipped, resumed, and where it goes."""

from __future__ import annotations

import json
import os
import platform
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest

import gossipsim
from gossipsim.results import occupied
from tests.cli.conftest import Workplace, config


def _titles(out: str) -> list[str]:
    """The lines of runs that ended."""
    return [line for line in out.splitlines() if " complete " in line or " failed " in line]


def _stamps(place: Workplace, experiment: str = "exp_0001") -> dict[str, int]:
    """When each run's parameters were written."""
    files = (place.folder / "wf" / experiment).glob("runs/**/parameters.npz")
    return {path.parent.name: path.stat().st_mtime_ns for path in files}


def test_overrides_and_seeds(place: Workplace) -> None:
    arguments = ["--set", "trainer.params.steps=3", "--set", "strategy=gossipsim.strategies.GradientTracking"]
    outcome = place.run(config(), *arguments, "--seeds", "1:3", "--workflow", "elsewhere")
    assert outcome.code == 0
    runs = gossipsim.load(place.folder / "elsewhere").runs
    assert [run.seed for run in runs] == [1, 2]
    assert all(run.summary["steps"] == 3 for run in runs)
    assert all(run.spec["strategy"]["class"] == "gossipsim.strategies.GradientTracking" for run in runs)
    assert not (place.folder / "wf").exists()
    assert json.loads((place.folder / "elsewhere/exp_0001/env.json").read_text())["command"]


def test_the_configuration_as_an_option(place: Workplace) -> None:
    place.write("c.json", config())
    assert place.call("run", "--config", "c.json", "--processes", "1").code == 0
    assert place.experiments() == ["exp_0001"]


def test_exp_id_skips_what_has_a_result(place: Workplace) -> None:
    assert place.run(config(seeds=[0, 1])).code == 0
    before = _stamps(place)
    again = place.run(config(seeds=[0, 1]), "--exp-id", "1")
    assert again.code == 0
    assert "2 of them exist already" in again.out
    assert _titles(again.out) == []
    assert _stamps(place) == before
    more = place.run(config(seeds=[0, 1]), "--exp-id", "1", "--seeds", "0:3")
    assert [line.split(" / ")[-1].split()[:2] for line in _titles(more.out)] == [["seed", "2"]]
    assert {name: _stamps(place)[name] for name in before} == before
    everything = place.run(config(seeds=[0, 1]), "--exp-id", "1", "--no-skip-existing")
    assert len(_titles(everything.out)) == 2
    assert all(_stamps(place)[name] > before[name] for name in before)
    assert place.experiments() == ["exp_0001"]


def test_a_key_that_differs_is_run_again(place: Workplace) -> None:
    place.run(config())
    before = _stamps(place)
    outcome = place.run(config(), "--exp-id", "1", "--set", "trainer.params.steps=7")
    assert len(_titles(outcome.out)) == 1
    assert _stamps(place) != before
    assert gossipsim.load("wf/exp_0001").runs[0].summary["steps"] == 7


def test_a_new_experiment_begins_when_all_is_there_or_when_asked_for(place: Workplace) -> None:
    place.run(config())
    place.run(config())
    assert place.experiments() == ["exp_0001", "exp_0002"]
    (record,) = place.folder.glob("wf/exp_0002/runs/**/run.json")
    record.write_text(record.read_text().replace('"complete"', '"interrupted"'))
    place.run(config(), "--new")
    assert place.experiments() == ["exp_0001", "exp_0002", "exp_0003"]


@pytest.mark.parametrize("damage", ["failed", "interrupted", "running", "broken", "missing"])
def test_an_incomplete_experiment_is_resumed(damage: str, place: Workplace) -> None:
    place.run(config(seeds=[0, 1]))
    before = _stamps(place)
    (record,) = place.folder.glob("wf/exp_0001/runs/**/seed_1/run.json")
    if damage == "missing":
        record.unlink()
    else:
        text = "{" if damage == "broken" else record.read_text().replace('"complete"', f'"{damage}"')
        record.write_text(text)
    outcome = place.run(config(seeds=[0, 1]))
    assert outcome.code == 0
    assert place.experiments() == ["exp_0001"]
    assert len(_titles(outcome.out)) == 1
    after = _stamps(place)
    assert after["seed_0"] == before["seed_0"]
    assert after["seed_1"] > before["seed_1"]
    assert [record["status"] for record in place.records()] == ["complete", "complete"]


def test_a_failed_run_is_retried_by_the_same_command(place: Workplace) -> None:
    content = config(strategy="mine.Breaks", seeds=[0])
    assert place.run(content).code == 1
    place.write("mine.py", (place.folder / "mine.py").read_text().replace("self.go_wrong()", "pass"))
    for name in [name for name in sys.modules if name == "mine"]:
        del sys.modules[name]
    assert place.run(content).code == 0
    assert place.experiments() == ["exp_0001"]
    assert place.records()[0]["error"] is None


def test_a_second_launcher_is_refused(place: Workplace) -> None:
    place.run(config())
    with occupied(Path("wf/exp_0001")):
        (line,) = place.refused(config(), "--exp-id", "1", "--no-skip-existing")
    who = f"pid {os.getpid()} on {platform.node()}, since {datetime.now(UTC):%Y-%m-%d}"
    assert line.startswith(f"wf/exp_0001: another launcher is at work here ({who}")
    assert line.endswith(" UTC); wait for it, or begin anew with --new")
    assert place.run(config(), "--exp-id", "1", "--no-skip-existing").code == 0


def test_a_dry_run_writes_nothing(place: Workplace) -> None:
    place.write("c.json", config(seeds=[0, 1]))
    before = sorted(place.folder.rglob("*"))
    outcome = place.call("run", "c.json", "--dry-run")
    assert outcome.code == 0
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["run", "run", "2"]
    assert sorted(place.folder.rglob("*")) == before
    place.run(config(seeds=[0]))
    outcome = place.run(config(seeds=[0, 1]), "--dry-run", "--exp-id", "1")
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["skip", "run", "1"]
    assert place.experiments() == ["exp_0001"]


def test_processes_and_jobs_do_not_change_a_byte(place: Workplace) -> None:
    content = config(seeds=[0, 1, 2])
    place.run(content, "--workflow", "alone")
    for name, arguments in {"jobs": ["--jobs", "2"], "nodes": [], "packed": []}.items():
        processes = {"jobs": 1, "nodes": "nodes", "packed": 3}[name]
        assert place.run(content, *arguments, "--workflow", name, processes=processes).code == 0
        for wanted in sorted(Path("alone").glob("exp_0001/runs/**/*")):
            if wanted.name in ("history.jsonl", "steps.jsonl", "parameters.npz"):
                found = Path(name, *wanted.parts[1:])
                assert found.read_bytes() == wanted.read_bytes(), found


def test_what_changed_between_two_experiments_of_one_process_is_seen(place: Workplace) -> None:
    """Two folders with a my_task.py each, as in a notebook: no task of the first is left in a cache."""
    for dim in (3, 7):
        source = f"""
            from gossipsim.tasks import QuadraticTask

            class Mine(QuadraticTask):
                def __init__(self, nodes: int = 1):
                    super().__init__(dim={dim}, nodes=nodes)
            """
        place.write(f"folder{dim}/my_task.py", textwrap.dedent(source))
        path = place.write(f"folder{dim}/c.json", config("my_task.Mine"))
        assert gossipsim.run(path, workflow=f"wf{dim}").runs[0].summary["parameters"] == dim


def test_plan_shows_cells_and_their_cost(place: Workplace) -> None:
    """Four nodes on a ring send 8 rows of 5 float64 per round; tracking sends two of each."""
    place.write("c.json", config(seeds=[0, 1], network={"nodes": 4}, strategy="gossipsim.strategies.GradientTracking"))
    before = sorted(place.folder.rglob("*"))
    outcome = place.call("plan", "c.json")
    assert outcome.code == 0
    (row,) = [line for line in outcome.out.splitlines() if "│ SGD" in line]
    (claims,) = [line for line in outcome.out.splitlines() if line.startswith("GradientTracking: ")]
    assert "exact with SGD, exact with Frank-Wolfe" in claims
    assert "needs connected, doubly stochastic" in claims
    assert "sends 2 rows over each edge per round" in claims
    assert claims.endswith("stable for eta h < 2 on ring(4)")
    dim, rounds = 5, 6
    cells = [cell.strip() for cell in row.strip("│").split("│")][1:]
    assert cells[:7] == ["0/2", "4", "0.3333", "0.3333", str(dim), f"{2 * 8 * dim * 8} bytes", str(rounds)]
    assert cells[7] == f"{rounds * 2 * 8 * dim * 8 / 1000:.1f} kB"
    assert sorted(place.folder.rglob("*")) == before
    assert place.call("plan", "c.json", "--seeds", "x").code == 2


def test_a_misspelt_target_is_told(place: Workplace) -> None:
    outcome = place.run(config(targets={"train_loss": [0.1], "consensos": [0.1]}))
    assert outcome.code == 0
    assert outcome.out.count("warning: targets: no run has recorded") == 1
    assert "no run has recorded 'consensos' (did you mean 'consensus'?)" in outcome.out
