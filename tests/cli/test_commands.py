"""The other commands, and what they cost to start."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gossipsim.cli import app
from tests.cli.conftest import Workplace, config


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["run", "nowhere.json"]])
def test_answers_without_torch(arguments: list[str]) -> None:
    code = f"""
import sys
from gossipsim.cli import app
try:
    app({arguments!r})
except SystemExit as end:
    heavy = [name for name in ("torch", "matplotlib", "scipy", "networkx", "torchvision") if name in sys.modules]
    print("exit", end.code, heavy)
"""
    assert python(code).splitlines()[-1] == f"exit {2 if 'nowhere.json' in arguments else 0} []"


def test_help_names_the_commands_and_the_exit_codes(place: Workplace) -> None:
    text = place.call("--help").out
    assert all(name in text for name in ("run", "report", "topology", "schema", "doctor", "bench"))
    text = " ".join(place.call("run", "--help").out.split())
    assert "130" in text
    assert all(
        option in text
        for option in ("--processes", "--set", "--seeds", "--exp-id", "--new", "--no-skip-existing", "--dry-run")
    )


def test_schema(place: Workplace) -> None:
    outcome = place.call("schema")
    schema = json.loads(outcome.out)
    assert outcome.code == 0
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["name"]
    assert set(config()) <= set(schema["properties"])
    _references_resolve(schema, schema)


def _references_resolve(part: object, schema: dict[str, object]) -> None:
    if isinstance(part, dict):
        reference = part.get("$ref")
        if isinstance(reference, str):
            assert reference.removeprefix("#/$defs/") in schema["$defs"]  # type: ignore[operator]
        for value in part.values():
            _references_resolve(value, schema)
    elif isinstance(part, list):
        for value in part:
            _references_resolve(value, schema)


def test_topology_as_json(place: Workplace) -> None:
    outcome = place.call("topology", "ring", "-n", "16", "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 0
    keys = ("nodes", "edges", "connected", "doubly_stochastic", "lambda_2", "lambda_min", "slem", "spectral_gap")
    assert set(keys) <= set(found)
    assert (found["nodes"], found["edges"], found["connected"], found["doubly_stochastic"]) == (16, 16, True, True)
    assert found["spectral_gap"] == pytest.approx(1 - found["slem"], abs=0)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["torus", "-n", "10"], "torus: n must be a product of two sides of at least 3"),
        (["hypercube", "-n", "12"], "power of two"),
        (["karate", "-n", "5"], "karate has a size of its own; leave out -n"),
        (["rnig"], "did you mean 'ring'?"),
        (["networkx.cycle_grph"], "did you mean 'cycle_graph'?"),
        (["ring", "--weights", "gossipsim.network.Metropolis"], "did you mean 'MetropolisHastings'?"),
    ],
)
def test_topology_refuses_in_one_line(arguments: list[str], expected: str, place: Workplace) -> None:
    outcome = place.call("topology", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    (line,) = outcome.errors
    assert expected in line


def test_doctor(place: Workplace) -> None:
    outcome = place.call("doctor")
    assert outcome.code == 0
    assert all(word in outcome.out for word in ("python", "torch", "gossipsim", "cores", "GPUs", "data folder"))


def test_report_rebuilds_from_files(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    place.run(config())
    monkeypatch.undo()
    monkeypatch.chdir(place.folder)
    (place.folder / "wf/exp_0001/results.csv").unlink()
    outcome = place.call("report", "wf")
    assert outcome.code == 0
    page = place.folder / "wf/exp_0001/report.html"
    assert outcome.out.strip() == "report: wf/exp_0001/report.html"
    assert page.read_text().lstrip().lower().startswith("<!doctype html")
    assert (place.folder / "wf/exp_0001/results.csv").is_file()


def test_report_of_nothing_is_refused(place: Workplace) -> None:
    outcome = place.call("report", "nowhere")
    assert (outcome.code, outcome.out) == (2, "")
    (line,) = outcome.errors
    assert line.startswith("nowhere: no such directory")
    (place.folder / "empty").mkdir()
    assert place.call("report", "empty").code == 2


def test_modules_are_commands_too(place: Workplace) -> None:
    """`python -m gossipsim.runner --config X` and its exit code; the report and the closing table are real."""
    place.write("c.json", config())
    command = [sys.executable, "-m", "gossipsim.runner", "--config", "c.json", "--processes", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "small: 1 run -> wf/exp_0001"
    assert done.stdout.splitlines()[-1] == "report: wf/exp_0001/report.html"
    assert (place.folder / "wf/exp_0001/report.html").is_file()


COMMANDS = [str(info.name or getattr(info.callback, "__name__", "")) for info in app.registered_commands]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str, place: Workplace) -> None:
    outcome = place.call(command, "--help")
    assert outcome.code == 0
    _, _, explained = outcome.out.partition("\n")[2].partition("Usage: ")
    text = " ".join(explained.splitlines()[1:]).split("─ ")[0]  # between the usage and the first box
    assert f"gossipsim {command}" in " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["rum"], "Did you mean 'run'?"),
        (["anmate"], "Did you mean 'animate'?"),
        (["run", "c.json", "--job", "2"], "--jobs"),
        (["topology", "ring", "--jsn"], "--json"),
        (["export", "wf", "--record", "steps"], "--records"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(arguments: list[str], suggestion: str, place: Workplace) -> None:
    outcome = place.call(*arguments)
    assert outcome.code == 2
    assert suggestion in outcome.err


@pytest.mark.parametrize("command", ["plan", "report", "check", "compare", "watch", "cite", "topology", "bench"])
def test_what_a_script_wants_to_read_comes_as_json(command: str, place: Workplace) -> None:
    assert "--json" in place.call(command, "--help").out
