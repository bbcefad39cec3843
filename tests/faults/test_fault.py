"""What a configuration and the environment may say about faults, and that each happens as often as it was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import gossipsim
from gossipsim.config import ConfigError, plan
from gossipsim.faults import LEDGER, VARIABLE, Fault, from_text
from gossipsim.schema import schema_of
from tests.cli.conftest import Workplace
from tests.faults.conftest import RANKS, experiment, files

RAISE = {"fault": "raise", "rank": 0, "step": 30}


@pytest.mark.parametrize(
    ("fault", "where", "expected"),
    [
        ({"fault": "kil", "rank": 1}, ".fault", "expected 'kill', 'segv', 'stop', 'hang', 'raise', 'exit',"),
        ({"fault": "kill", "rnk": 1}, ".rnk", "unknown key (did you mean 'rank'?); allowed: fault, rank, node, step,"),
        ({"fault": "kill", "rank": "1"}, ".rank", 'expected an integer, got "1"'),
        ({"fault": "kill", "rank": -1}, ".rank", "expected an integer >= 0, got -1"),
        ({"fault": "kill"}, "", "'kill' takes 'rank' or 'node': give one"),
        ({"fault": "kill", "rank": 1, "node": 1}, "", "'kill' takes 'rank' or 'node': give one"),
        ({"fault": "nan", "rank": 1}, "", "'nan' has no 'rank'; allowed: node, step, attempts"),
        ({"fault": "disk", "rank": 1}, "", "'disk' has no 'rank'; allowed: step, attempts"),
        ({"fault": "kill", "rank": 1, "seconds": 2.0}, "", "'kill' has no 'seconds'; allowed: rank, node, step, att"),
        ({"fault": "slow", "rank": 1}, "", "'slow' takes 'seconds': how much longer an exchange takes"),
        ({"fault": "corrupt", "file": "../../x"}, ".file", "expected a path below the directory of the run"),
        ({"fault": "raise", "node": RANKS}, "", f"there is no node {RANKS}; expected 0 to {RANKS - 1}"),
        ({"fault": "kill", "rank": 1, "attempts": 0}, ".attempts", "expected an integer >= 1, got 0"),
    ],
)
def test_mistakes(fault: dict[str, Any], where: str, expected: str, place: Workplace) -> None:
    (error,) = place.refused(experiment(RAISE, fault))
    path, message = error.split(": ", 2)[1:]
    assert path == f"faults[1]{where}"
    assert message.startswith(expected)
    assert error.startswith("c.json:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kill:rank", "environment variable GOSSIPSIM_FAULTS: 'rank' is not a field and its value; write e.g. kill:"),
        ("kill:rank=x", 'environment variable GOSSIPSIM_FAULTS: [0].rank: expected an integer, got "x"'),
        ("stop:rank=0;fall", "environment variable GOSSIPSIM_FAULTS: [1].fault: expected 'kill', 'segv'"),
        ('[{"fault": "kill", "rank": }]', "environment variable GOSSIPSIM_FAULTS: "),
        ('{"fault": "raise", "node": 7}', "environment variable GOSSIPSIM_FAULTS: [0]: there is no node 7; expected 0"),
    ],
)
def test_mistakes_of_the_environment(
    text: str, expected: str, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, text)
    (error,) = place.refused(experiment())
    assert error.startswith(expected)


@pytest.mark.parametrize(
    "text",
    [
        "kill:rank=1,step=30",
        "slow:rank=0,seconds=0.05",
        "disk",
        "corrupt:step=3,file=steps.jsonl",
        "nan:node=2,attempts=3",
    ],
)
def test_in_short_and_back(text: str) -> None:
    (fault,) = from_text(f" {text} ; ")
    assert str(Fault.model_validate(fault)) == text
    assert Fault.model_validate(fault).record() == fault


def test_the_schema_has_them() -> None:
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema_of("experiment"))
    assert validator.is_valid(experiment(RAISE))
    assert not validator.is_valid(experiment({"fault": "fall", "rank": 0}))
    assert not validator.is_valid(experiment({"fault": "kill", "rnk": 0}))


def test_faults_do_not_decide_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "disk:step=3")
    (hurt,), (whole,) = plan(experiment(RAISE)).runs, plan(experiment()).runs
    assert [fault.fault for fault in hurt.faults] == ["raise", "disk"]
    assert hurt.key == whole.key
    assert "faults" not in hurt.resolved()


def test_a_fault_happens_once_in_each_of_its_attempts(tmp_path: Path, untouched: dict[str, bytes]) -> None:
    content = experiment(RAISE | {"attempts": 2}, RAISE | {"step": 50})
    errors = []
    for _ in range(4):
        (run,) = gossipsim.run(content, workflow=tmp_path).runs
        errors.append(run.status if run.error is None else run.error["message"])
    assert errors == [
        "RuntimeError: the fault raise:rank=0,step=30,attempts=2 was asked for",
        "RuntimeError: the fault raise:rank=0,step=30,attempts=2 was asked for",
        "RuntimeError: the fault raise:rank=0,step=50 was asked for",
        "complete",
    ]
    assert files(run) == untouched
    ledger = [json.loads(line) for line in (run.directory / LEDGER).read_text().splitlines()]
    assert ledger == [RAISE | {"attempts": 2}] * 2 + [RAISE | {"step": 50}]


def test_what_did_not_happen_is_told(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "kill:rank=5,step=2; raise:rank=0,step=999")
    outcome = place.run(experiment())
    assert outcome.code == 0
    assert "the fault kill:rank=5,step=2 did not happen" in outcome.out
    assert "the fault raise:rank=0,step=999 did not happen" in outcome.out
    assert not list(place.folder.rglob(LEDGER))


def test_a_file_of_ones_choice_is_corrupted(tmp_path: Path, untouched: dict[str, bytes]) -> None:
    corrupt = {"fault": "corrupt", "step": 30, "file": "checkpoint/*.json"}
    content = experiment(corrupt, RAISE | {"step": 31})
    (run,) = gossipsim.run(content, workflow=tmp_path).runs
    older, newest = sorted((run.directory / "checkpoint").glob("*.json"))
    json.loads(older.read_text())
    with pytest.raises(ValueError, match="can't decode byte"):
        json.loads(newest.read_bytes())
    (run,) = gossipsim.run(content, workflow=tmp_path).runs
    assert files(run) == untouched


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("name", ["history", "steps", "nodes", "timing"])
def test_records_that_somebody_changes_are_no_result(
    name: str, processes: int, tmp_path: Path, untouched: dict[str, bytes]
) -> None:
    content = experiment({"fault": "corrupt", "step": 1, "file": f"{name}.jsonl"})
    (run,) = gossipsim.run(content, processes=processes, workflow=tmp_path).runs
    assert run.status == "failed"
    path = run.directory / f"{name}.jsonl"
    assert run.error is not None
    assert run.error["message"] == f"{path}: was changed while the run was under way; the same command runs it again"
    (run,) = gossipsim.run(content, processes=processes, workflow=tmp_path).runs
    assert files(run) == untouched


def test_nothing_is_done_where_there_are_no_faults() -> None:
    from gossipsim.faults import struck

    strategy = object()
    with struck((), strategy, Path("nowhere"), print) as same:
        assert same is strategy


def test_a_config_error_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "kill")
    with pytest.raises(ConfigError, match=r"GOSSIPSIM_FAULTS: \[0\]: 'kill' takes 'rank' or 'node': give one"):
        gossipsim.run(experiment())
