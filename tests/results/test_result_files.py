import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossipsim.results import (
    CannotWrite,
    find_experiments,
    next_experiment,
    read_json,
    read_jsonl,
    run_directory,
    safe_name,
    unique_names,
    write_json,
)

HOSTILE = [
    "",
    ".",
    "..",
    "../../etc/passwd",
    "/",
    "a/b",
    "a\\b",
    "CON",
    "nul.txt",
    "com1",
    " ",
    "-rf",
    "~",
    "\0",
    "é" * 300,
    "模型",
]


@settings(deadline=None)
@given(st.one_of(st.text(), st.sampled_from(HOSTILE)))
def test_safe_name_is_one_harmless_component(display: str) -> None:
    name = safe_name(display)
    assert name
    assert len(name.encode()) <= 100
    assert name.isascii()
    assert not set(name) & set("/\\:*?\"'<>|\0 $`;&()\n")
    assert name[0] not in ".-"
    assert name[-1] not in ". "
    assert name.split(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt1"}
    assert safe_name(name) == name


@settings(deadline=None)
@given(st.lists(st.one_of(st.text(max_size=5), st.sampled_from([*HOSTILE, "SGD", "sgd", "SGD_2"]))))
def test_unique_names_differ_where_case_is_ignored(displays: list[str]) -> None:
    names = unique_names(displays)
    assert len({name.casefold() for name in names}) == len(displays)
    assert [safe_name(name) for name in names] == names


@pytest.mark.parametrize("display", ["SGD", "lr=0.1", "MLP-128,64", "nodes=4", "Adam+clip", "v1.2"])
def test_harmless_names_stay_as_they_are(display: str) -> None:
    assert safe_name(display) == display


def test_run_directory_stays_inside_the_experiment(tmp_path: Path) -> None:
    labels = {"task": "..", "model": "/abs", "optimizer": "a/../../b", "cell": ""}
    directory = run_directory(tmp_path, labels, 3)
    assert directory.relative_to(tmp_path).parts == ("runs", "unnamed", "abs", "a-.-.-b", "unnamed", "seed_3")


def test_write_json_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": [1, 0.1]})
    before = path.read_bytes()
    for bad in (float("nan"), float("inf"), object()):
        with pytest.raises((ValueError, TypeError)):
            write_json(path, {"a": bad})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["a.json"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_write_json_leaves_no_temporary_file_when_renaming_fails(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OSError):
        write_json(tmp_path / "a.json", 1)
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_that_was_removed_does_not_come_back(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="its directory was removed"):
        write_json(tmp_path / "removed/run/run.json", {})
    assert list(tmp_path.iterdir()) == []


def test_read_json_names_the_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json: not valid JSON"):
        read_json(tmp_path / "a.json")


def test_read_jsonl_at_every_place_where_writing_may_have_stopped(tmp_path: Path) -> None:
    records = [{"step": 0, "loss": 2.5, "name": "é"}, {"step": 10, "loss": 1e-9}, {"step": 20}]
    lines = [json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records]
    content = b"".join(lines)
    path = tmp_path / "history.jsonl"
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        complete = sum(length >= len(b"".join(lines[: n + 1])) - 1 for n in range(len(lines)))
        assert read_jsonl(path) == records[:complete]


def test_read_jsonl_refuses_damage_before_the_last_line(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"step": 0}\n{"st\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"history\.jsonl:2: damaged record"):
        read_jsonl(path)
    assert read_jsonl(tmp_path / "absent.jsonl") == []


def test_next_experiment_counts_on(tmp_path: Path) -> None:
    workflow = tmp_path / "workflow"
    assert find_experiments(workflow) == []
    assert next_experiment(workflow).name == "exp_0001"
    (workflow / "exp_0012").mkdir()
    (workflow / "exp_12345").mkdir()
    (workflow / "exp_0099").write_text("a file, not an experiment")
    (workflow / "exp_backup").mkdir()
    assert [path.name for path in find_experiments(workflow)] == ["exp_0001", "exp_0012", "exp_12345"]
    assert next_experiment(workflow).name == "exp_12346"


def test_two_launchers_never_get_the_same_experiment(tmp_path: Path) -> None:
    got: list[Path] = []
    threads = [threading.Thread(target=lambda: got.append(next_experiment(tmp_path))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in got) == [f"exp_{number:04d}" for number in range(1, 17)]
