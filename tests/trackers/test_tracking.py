"""What trackers get is what the files say; what they do wrong does not touch the runs."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gossipsim.trackers.growing import GrowingRecords
from tests.cli.conftest import Workplace, config


class FakeRun:
    """What `init` of a wandb-like library returns."""

    def __init__(self, library: FakeLibrary, arguments: dict[str, Any]) -> None:
        self.library, self.arguments = library, arguments
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished: dict[str, Any] | None = None

    def log(self, values: dict[str, float], step: int) -> None:
        if self.library.breaks:
            raise ConnectionError("nobody answers")
        self.logged.append((step, values))
        record = json.loads(next(Path("wf").glob("exp_*/runs/**/run.json")).read_text())
        self.library.seen.append((record["status"], record.get("total_steps")))

    def finish(self, **arguments: Any) -> None:
        self.finished = arguments


class FakeLibrary(ModuleType):
    """A module with the interface that wandb and trackio share."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.breaks = False
        self.runs: list[FakeRun] = []
        self.seen: list[tuple[str, int | None]] = []

    def init(self, **arguments: Any) -> FakeRun:
        self.runs.append(FakeRun(self, arguments))
        return self.runs[-1]


@pytest.fixture
def trackio(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    library = FakeLibrary("trackio")
    monkeypatch.setitem(sys.modules, "trackio", library)
    monkeypatch.setenv("TRACKIO_DIR", "elsewhere")
    return library


def records(place: Workplace, kind: str, seed: int = 0) -> list[dict[str, Any]]:
    (path,) = place.folder.glob(f"wf/exp_0001/runs/**/seed_{seed}/{kind}.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("processes", [1, 2])
def test_tensorboard_has_the_values_of_the_files(place: Workplace, processes: int) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert place.run(config(), "--track", "tensorboard", processes=processes).code == 0
    (folder,) = {path.parent for path in place.folder.glob("wf/exp_0001/tensorboard/**/events.*")}
    events = EventAccumulator(str(folder)).Reload()
    expected = {
        f"{kind}/{name}": [(r["step"], r[name]) for r in records(place, kind) if name in r]
        for kind in ("history", "steps")
        for name in records(place, kind)[-1]
        if name != "step"
    }
    assert {"history/distance", "steps/batch_loss"} <= set(expected) == set(events.Tags()["scalars"])
    for tag, values in expected.items():
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        assert [step for step, _ in found] == [step for step, _ in values]
        assert [value for _, value in found] == pytest.approx([value for _, value in values], rel=1e-6)


def test_a_wandb_like_library_gets_a_run_per_run(place: Workplace, trackio: FakeLibrary) -> None:
    assert place.run(config(seeds=[0, 1]), "--track", "trackio").code == 0
    assert [run.arguments["name"][-6:] for run in trackio.runs] == ["seed 0", "seed 1"]
    assert len({run.arguments["group"] for run in trackio.runs}) == 1
    for seed, run in enumerate(trackio.runs):
        assert run.arguments["project"] == "small"
        assert run.arguments["config"]["network"]["nodes"] == 4
        assert run.arguments["config"]["seed"] == seed
        assert run.finished == {}
        steps = [step for step, _ in run.logged]
        assert steps == sorted(steps)
        for kind in ("steps", "history"):
            logged = [(step, values) for step, values in run.logged if any(n.startswith(kind) for n in values)]
            expected = [
                (r["step"], {f"{kind}/{n}": v for n, v in r.items() if n != "step"})
                for r in records(place, kind, seed)
                if len(r) > 1
            ]
            assert logged == expected


def test_run_json_says_how_long_a_run_will_be_while_it_runs(place: Workplace, trackio: FakeLibrary) -> None:
    place.run(config(), "--track", "trackio")
    assert ("running", 6) in trackio.seen
    assert set(trackio.seen) <= {("running", 6), ("complete", None)}
    assert "total_steps" not in place.records()[0]


def test_a_tracker_that_breaks_is_told_of_once(place: Workplace, trackio: FakeLibrary) -> None:
    trackio.breaks = True
    outcome = place.run(config(seeds=[0, 1]), "--track", "trackio")
    assert outcome.code == 0
    assert [record["status"] for record in place.records()] == ["complete", "complete"]
    assert outcome.out.count("ConnectionError: nobody answers") == 1
    assert len(trackio.runs) == 1


def test_files_are_the_same_with_and_without_a_tracker(place: Workplace, trackio: FakeLibrary) -> None:
    place.run(config(), "--track", "trackio")
    place.run(config(), "--new")
    one, two = (
        {path.name: path.read_bytes() for path in place.folder.glob(f"wf/{exp}/runs/**/*") if path.suffix == ".jsonl"}
        for exp in ("exp_0001", "exp_0002")
    )
    assert {"steps.jsonl", "history.jsonl"} <= set(one)
    assert all(one[name] == two[name] for name in ("steps.jsonl", "history.jsonl"))


def test_a_library_that_is_missing_is_refused(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossipsim.trackers.names.find_spec", lambda name: None)
    (line,) = place.refused(config(), "--track", "tensorboard")
    assert line == "--track tensorboard: tensorboard is not installed; pip install 'gossipsim[tensorboard]'"
    (line,) = place.refused(config(), "--track", "mlflow")
    assert line == "--track mlflow: give tensorboard, wandb, trackio"


def test_records_come_in_the_order_of_steps_and_wait_for_whole_lines(tmp_path: Path) -> None:
    growing = GrowingRecords(tmp_path)
    assert growing.until(None) == []
    (tmp_path / "steps.jsonl").write_text('{"step": 0}\n{"step": 5}\n{"step": 9}\n{"st')
    (tmp_path / "history.jsonl").write_text('{"step": 0, "loss": 2}\n')
    assert growing.until(5) == [("steps", {"step": 0}), ("history", {"step": 0, "loss": 2}), ("steps", {"step": 5})]
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 5, "loss": 1}\n')
    with (tmp_path / "steps.jsonl").open("a") as file:
        file.write('ep": 12}\n')
    assert growing.until(None) == [
        ("history", {"step": 5, "loss": 1}),
        ("steps", {"step": 9}),
        ("steps", {"step": 12}),
    ]
    growing.close()


@pytest.mark.slow
def test_wandb_offline_keeps_its_files_in_the_experiment(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert place.run(config(), "--track", "wandb").code == 0
    (file,) = place.folder.glob("wf/exp_0001/wandb/offline-run-*/run-*.wandb")
    assert not (place.folder / "wandb").exists()
    content = file.read_bytes()
    assert b"history/distance" in content
    assert all(json.dumps(record["distance"]).encode() in content for record in records(place, "history"))
