"""`--allow PREFIX` and what is refused without it, through the commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import gossipsim
from gossipsim.spec import allow_only
from tests.cli.conftest import Workplace, config

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_limit_afterwards() -> object:
    yield
    allow_only(())


@pytest.mark.parametrize("command", [["run", "--dry-run"], ["plan", "--no-time"], ["run"]])
def test_what_is_named_runs(command: list[str], place: Workplace) -> None:
    place.write("c.json", config())
    assert place.call(*command, "c.json", "--allow", "torch.optim").code == 0


@pytest.mark.parametrize(
    "command", [["run"], ["run", "--dry-run"], ["plan"], ["check"], ["slurm", "--executor", "local"]]
)
def test_the_rest_is_an_error_with_its_line(command: list[str], place: Workplace) -> None:
    place.write("canary.py", "open('ran', 'w').close()\n")
    place.write("c.json", config(strategy="canary.Strategy"))
    if command[0] == "slurm":
        pytest.importorskip("submitit")
    outcome = place.call(*command, "c.json", "--allow", "torch.optim", "--allow", "networkx")
    line = place.line("canary.Strategy")
    assert outcome.code == 2
    assert outcome.errors == [
        f"c.json:{line}: strategy: 'canary.Strategy' is outside of what --allow names: torch.optim, networkx"
    ]
    assert not (place.folder / "ran").exists()


def test_a_prefix_is_a_dotted_name(place: Workplace) -> None:
    assert place.refused(config(), "--allow", "torch.") == [
        "--allow torch.: write the beginning of a class path, e.g. torch.optim"
    ]
    with pytest.raises(ValueError, match="--allow a-b"):
        gossipsim.run(config(), allow=["a-b"])


def test_it_goes_with_a_file_of_gates(place: Workplace) -> None:
    outcome = place.call("check", "--allow", "torch.optim")
    assert outcome.errors == ["check: --json and --allow are for the gates of a file; give one"]


def test_from_python(place: Workplace) -> None:
    with pytest.raises(gossipsim.ConfigError, match="outside of what --allow names: networkx"):
        gossipsim.run(config(), allow=["networkx"])
    assert gossipsim.run(config(), allow=["torch.optim"]).runs[0].status == "complete"


def test_the_module_that_torchrun_starts_knows_it_too(place: Workplace) -> None:
    place.write("c.json", config())
    command = [sys.executable, "-m", "gossipsim.runner", "--config", "c.json", "--allow", "networkx"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 2
    assert "'torch.optim.SGD' is outside of what --allow names: networkx" in done.stderr


def test_a_command_of_the_system_is_not_carried_out(place: Workplace) -> None:
    spec = {"class": "torch.os.system", "params": {"command": "touch ran"}}
    (line,) = place.refused(config(model=spec))
    assert line.startswith(
        f"c.json:{place.line('torch.os.system')}: tasks[0].models[0].class: 'torch.os.system' (posix"
    )
    assert "call it in a function of your own" in line
