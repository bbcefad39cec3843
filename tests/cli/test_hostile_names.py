"""Whatever things are called, all that a run writes is in its workflow directory, and terminals get text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import QUADRATIC, SGD, Workplace, config

NAMES = {
    "above": "../../escaped",
    "absolute": "/tmp/gossipsim_escaped",
    "dots": "..",
    "a device": "con",
    "zero": "a\0b",
    "long": "x" * 100,
    "unicode": "ё/日本語\u202e\U0001f600",
    "newline": "two\nlines\u2028three",
    "markup": "[/red][bold]a[/] \\[x",
    "colours": "\x1b[31mred\x07",
    "shell": "$(touch escaped) `touch escaped`; touch escaped",
    "blank": " ",
}


def _tree(folder: Path) -> set[str]:
    return {os.path.join(root, name) for root, folders, files in os.walk(folder) for name in [*folders, *files]}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_nothing_is_written_elsewhere(place: Workplace, name: str) -> None:
    specs = [each | {"name": name} for each in (QUADRATIC, {"class": "gossipsim.models.Vector"}, SGD)]
    content = config(*specs)
    place.write("c.json", content)
    before = _tree(place.folder.parent)
    outcomes = [
        place.call(*command)
        for command in (["run", "c.json", "--processes", 1], ["plan", "c.json", "--no-time"], ["table", "wf"])
    ]
    assert [outcome.code for outcome in outcomes] == [0, 0, 0]
    workflow = str(place.folder / "wf")
    written = _tree(place.folder.parent) - before - {workflow}
    assert written
    assert [path for path in written if not path.startswith(workflow + os.sep)] == []
    assert not Path("/tmp/gossipsim_escaped").exists()
    assert not {character for outcome in outcomes[:2] for character in outcome.out if character in "\x1b\x07\0\u202e"}


@pytest.mark.parametrize(
    "name", ["../escaped", "/tmp/gossipsim_escaped", "..", ".hidden", "a/b", "a\0b", "a\nb", "x" * 101, ""]
)
def test_the_name_of_an_experiment_is_that_of_a_folder(place: Workplace, name: str) -> None:
    content = config(name=name)
    del content["workflow"]
    (line,) = place.refused(content)
    line_of_name = place.line('"name"')
    assert line.startswith(f"c.json:{line_of_name}: name: expected up to 100 characters that a folder name")


def test_results_of_others_do_not_lead_elsewhere(place: Workplace) -> None:
    assert place.run(config()).code == 0
    resolved = place.folder / "wf" / "exp_0001" / "resolved.json"
    text = resolved.read_text()
    for elsewhere in ("runs/../../../../elsewhere", "/tmp/elsewhere"):
        directory = f'"directory": "{elsewhere}"'
        resolved.write_text(
            "".join(line if '"directory"' not in line else f"{directory},\n" for line in text.splitlines(True))
        )
        outcome = place.call("report", "wf")
        assert outcome.code == 2
        assert f"resolved.json: '{elsewhere}' is not a folder of this experiment" in outcome.err


def test_gates_of_any_name_are_judged(place: Workplace) -> None:
    gate = {"name": "[/red] | <b>", "metric": "train_loss", "threshold": 1e9}
    place.write("c.json", config(gates=[gate]))
    outcome = place.call("check", "c.json", "--processes", 1)
    assert outcome.code == 0
    assert "[/red] | <b>" in outcome.out
    assert r"\[/red\] \| \<b\>" in (place.folder / "wf" / "exp_0001" / "check.md").read_text()
