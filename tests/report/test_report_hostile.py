"""Names and values of strangers are text in all that is written about an experiment."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fake_experiment
import pytest

from gossipsim import report
from gossipsim.report import page as pages
from gossipsim.report import tables
from gossipsim.report.grids import listing
from gossipsim.report.provenance import Provenance
from gossipsim.results import Results, load, read_json, write_json

HOSTILE = (
    "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)><svg/onload=alert(1)>${7*7}{{ 7111*7111 }}"
    "{% x %}]]><!--\u2028\u2029&lt;b&gt;</style></textarea>javascript:alert(1)"
)
HARMLESS = "harmless"


class Shape(HTMLParser):
    """The elements and the names of their attributes, and what scripts hold."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[str] = []
        self.scripts: list[str] = []
        self._within = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.values += [value or "" for name, value in attrs if name in ("href", "src")]
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self.scripts.append(data)


def _renamed(value: Any, to: str) -> Any:
    """Every text of a JSON value gets `to` at its end; keys of one that is not ours, too."""
    if isinstance(value, dict):
        return {f"{key}{to}": _renamed(item, to) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, to) for item in value]
    return f"{value}{to}" if isinstance(value, str) else value


def _experiment(directory: Path, text: str) -> Results:
    """All names, metrics, swept paths and values, warnings, errors and settings hold `text`."""
    cells = {
        f"a={text}": {f"strategy.params.{text}": text, "network.topology": text},
        f"b={text}": {
            f"strategy.params.{text}": {"class": text, "params": {text: text}},
            "network.topology": "x",
        },
    }
    optimizers = (f"SGD {text}", f"Adam {text}")
    statuses = {(text, optimizers[1], f"a={text}", 1): "failed", (text, optimizers[1], f"b={text}", 0): "diverged"}
    fake_experiment.experiment(
        directory, models=(text,), optimizers=optimizers, cells=cells, statuses=statuses, name=text, message=text
    )
    write_json(directory / "config.json", {"name": text, "description": text, text: [text]})
    environment = _renamed({"packages": {"x": "1"}, "version": "0"}, text)
    write_json(directory / "env.json", environment | {"command": ["x", text]})
    for folder in {run.directory for run in load(directory).runs if run.history}:
        summary = read_json(folder / "summary.json")
        summary["warnings"] = [text]
        summary["split"] = {f"train {text}": 10}
        summary["network"] |= {"name": text}
        write_json(folder / "summary.json", summary)
        for name in ("history.jsonl", "steps.jsonl"):
            records = [json.loads(line) for line in (folder / name).read_text().splitlines()]
            fake_experiment.write_lines(folder / name, [record | {f"loss {text}": 1.5} for record in records])
    return load(directory)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return _experiment(tmp_path_factory.mktemp("workflow") / "exp_0001", HOSTILE)


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return _experiment(tmp_path_factory.mktemp("workflow") / "exp_0001", HARMLESS)


def _page(results: Results) -> str:
    return pages.render(results, [], Provenance.of(results))


def test_the_page_has_the_elements_of_a_harmless_one(hostile: Results, harmless: Results) -> None:
    page, plain = Shape(_page(hostile)), Shape(_page(harmless))
    assert page.elements == plain.elements
    assert not any(value.startswith("javascript:") for value in page.values)
    assert not any(name.startswith("on") for _, names in page.elements for name in names)
    assert len(page.scripts) == len(plain.scripts)
    assert str(7111 * 7111) not in _page(hostile)


def test_the_scripts_are_ours_and_their_data_is_json(hostile: Results, harmless: Results) -> None:
    for ours, plain in zip(Shape(_page(hostile)).scripts, Shape(_page(harmless)).scripts, strict=True):
        if ours != plain:
            json.loads(ours)
            assert "<" not in ours


def test_a_readme_is_text(hostile: Results) -> None:
    text = report.write_readme(hostile).read_text()
    title = text.splitlines()[0]
    assert title.startswith("# ")
    assert re.search(r"(?<!\\)[<>`]", title) is None


def test_tables_are_text(hostile: Results) -> None:
    grid = listing(hostile.selected_cells)
    for line in tables.markdown(grid).splitlines():
        assert re.search(r"(?<!\\)<(?!/?u>)", line) is None
    latex = tables.latex(grid, origin=f"{hostile.name}\n\\input{{/etc/passwd}}")
    assert all(line.startswith("%") for line in latex.splitlines() if "passwd" in line)
    commands = set(re.findall(r"\\([a-z]+)", "\n".join(line for line in latex.splitlines() if line[:1] != "%")))
    known = "begin end toprule midrule bottomrule mathbf underline pm times infty mathrm uparrow downarrow"
    assert commands <= {*known.split(), "textbackslash", "textasciitilde", "textbar"}
