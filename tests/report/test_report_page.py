import base64
import gzip
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fake_experiment
import numpy as np
import pytest

from gossipsim import report
from gossipsim.report.interactive import SHOWN_AT_FIRST
from gossipsim.report.page import MOST_EMBEDDED, render
from gossipsim.report.provenance import Provenance
from gossipsim.results import load, write_tables

DIVERGED = {("MLP", "SGD", "nodes=8, cycle_graph", seed): "diverged" for seed in (0, 1)}
FAILED = {("MLP", "SGD", "nodes=4, cycle_graph", 0): "failed"}
HOSTILE = "\"'><script>alert(1)</script>{{ 7 * 7 }}"


class Page(HTMLParser):
    """Tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._within = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within not in {"script", "style"}:
            self.text += data


def build(directory: Path, **options: Any) -> Page:
    fake_experiment.experiment(directory, **options)
    write_tables(directory)
    report.write_readme(directory)
    return Page(report.build(directory))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workflow") / "exp_0001"


@pytest.fixture(scope="module")
def page(directory: Path) -> Page:
    return build(directory, models=("MLP",), statuses={**DIVERGED, **FAILED})


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return build(
        tmp_path_factory.mktemp("workflow") / "exp_0001",
        models=(HOSTILE,),
        optimizers=(HOSTILE, "$x^{ \\frac"),
        cells={HOSTILE: {"a.b": HOSTILE}},
        name=HOSTILE,
        message=HOSTILE,
        statuses={(HOSTILE, "$x^{ \\frac", HOSTILE, 1): "failed"},
    )


def test_page_loads_nothing(page: Page) -> None:
    loading = {"src", "srcset", "poster", "data", "background", "action", "xlink:href"}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            if name in loading:
                assert (value or "").startswith("data:"), (tag, name, value)
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        assert "src" not in attributes or tag == "img"
    assert not re.findall(r"url\(|@import|\bfetch\(|XMLHttpRequest|\bimport\(|https?://", page.source)
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert (policy or "").startswith("default-src 'none'; img-src data:")


def test_page_is_small_and_its_images_are_the_plots(page: Page, directory: Path) -> None:
    assert len(page.source.encode()) < 8_000_000
    embedded = [str(a["src"]).partition(",")[2] for tag, a in page.tags if tag == "img"]
    plots = {path.read_bytes() for path in directory.rglob("*.png")}
    assert {base64.b64decode(image) for image in embedded} == plots
    assert all(a.get("alt") for tag, a in page.tags if tag == "img")


def test_metrics_and_axes_of_the_curves_can_be_chosen(page: Page) -> None:
    """Those that were recorded and along which the runs advance, the one of the figures first."""
    axes = page.source.split('<select class="axis">')[1].split("</select>")[0]
    assert re.findall(r'value="(\w+)"', axes) == ["epoch", "step", "round", "bytes_sent", "gradient_evals"]
    metrics = page.source.split('<select class="metric">')[1].split("</select>")[0]
    labels = re.findall(r">([^<>]+)</option>", metrics)
    assert labels[0] == "test accuracy"
    assert {"train loss", "consensus error", "batch loss", "test accuracy, worst node"} <= set(labels)


def test_numbers_of_the_curves_are_of_the_runs(page: Page, directory: Path) -> None:
    data = json.loads(page.source.split('class="numbers">')[1].split("</script>")[0])
    cells = [cell for cell in load(directory).cells if cell.complete]
    lines = data["metrics"][0]["lines"]
    assert set(lines["epoch"]) == set(map(str, range(len(cells))))
    for number, cell in enumerate(cells):
        x, mean, std = (None if at is None else data["arrays"][at] for at in lines["bytes_sent"][str(number)])
        assert x == [record["bytes_sent"] for record in cell.complete[0].history]
        values = [[record["test_accuracy"] for record in run.history] for run in cell.complete]
        np.testing.assert_allclose(mean, np.mean(values, axis=0), rtol=1e-4)
        expected = None if len(values) == 1 else np.std(values, axis=0, ddof=1)
        assert (std is None) == (expected is None)
        if std is not None:
            np.testing.assert_allclose(std, expected, rtol=1e-2)


def test_one_seed_of_one_cell_has_neither_filter_nor_band(tmp_path: Path) -> None:
    options: dict[str, Any] = {"models": ("M",), "optimizers": ("SGD",), "cells": {"": {}}}
    fake_experiment.experiment(tmp_path / "exp_0001", **options, seeds=(0,))
    page = Page(report.build(tmp_path / "exp_0001"))
    assert not [a for tag, a in page.tags if tag == "input" and a.get("class") == "filter"]
    data = json.loads(page.source.split('class="numbers">')[1].split("</script>")[0])
    assert data["metrics"][0]["lines"]["epoch"]["0"][2] is None
    assert "one seed, so that nothing is known of the spread" in page.text
    assert "player" not in {a.get("id") for _, a in page.tags}


def test_scripts_that_run_are_those_of_the_policy(page: Page) -> None:
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy") or ""
    ours = page.source.split("<script>")[1].split("</script>")[0]
    packed = page.source.split('id="plotly">')[1].split("</script>")[0]
    for code in (ours.encode(), gzip.decompress(base64.b64decode(packed))):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(code).digest()).decode()}'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'unsafe-inline'" not in policy


@pytest.mark.slow
def test_a_large_experiment_has_a_page_below_eight_megabytes(tmp_path: Path) -> None:
    """300 cells of 256 nodes, frames of all: the best curves are shown first, and what has no room is counted."""
    cells = {f"alpha={k}": {"alpha": k / 10, "network.nodes": 256} for k in range(150)}
    directory = fake_experiment.experiment(
        tmp_path / "exp_0001", models=("M",), optimizers=("SGD", "Adam"), cells=cells, seeds=(0,)
    )
    frames = [{"step": k, "round": k, "distance": [1.5 / (k + node + 1) for node in range(256)]} for k in range(60)]
    text = "".join(json.dumps(frame) + "\n" for frame in frames)
    for run in load(directory).runs:
        (run.directory / "nodes.jsonl").write_text(text)
    results = load(directory)
    source = render(results, [], Provenance.of(results))
    assert len(source.encode()) < 8_000_000 - 1.4 * MOST_EMBEDDED
    assert source.count('data-first="1"') == SHOWN_AT_FIRST
    assert re.search(r"Room for \d+ of 300 cells with frames", source)


def test_tuned_optimizers_are_shown_with_their_candidates(tmp_path: Path) -> None:
    directory = fake_experiment.experiment(
        tmp_path / "exp_0001", models=("M",), optimizers=("SGD(lr=0.1)", "SGD(lr=0.2)"), cells={"": {}}
    )
    resolved = json.loads((directory / "resolved.json").read_text())
    for entry in resolved["runs"]:
        entry["tuned"] = {"optimizer": "SGD", "params": {"lr": float(entry["optimizer"][7:-1])}}
    (directory / "resolved.json").write_text(json.dumps(resolved))
    results = load(directory)
    page = render(results, [], Provenance.of(results))
    tuning = page.split('<section id="tuning">')[1].split("</section>")[0]
    rows = tuning.split("<tbody>")[1].split("</tr>")[:2]
    assert ["★" in row for row in rows] == [
        one is results.selections[0].chosen for one in results.selections[0].candidates
    ]
    assert "2 candidates with 2 seeds each" in tuning
    ranked = page.split('<table class="sortable ranked">')[1].split("</table>")[0]
    assert ranked.count("<tr>") == 2  # the head, and the one that was chosen


def test_every_link_leads_somewhere(page: Page, directory: Path) -> None:
    anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for link in [str(attributes["href"]) for tag, attributes in page.tags if tag == "a"]:
        assert link[1:] in anchors if link.startswith("#") else (directory / link).is_file(), link


def test_page_says_what_happened(page: Page) -> None:
    for text in (
        "13 complete",
        "2 diverged",
        "1 failed",
        "loss_fn: expected 10 classes, got 3",
        "Traceback",
        "validation shrank from 300 to 297 samples",
        "spectral gap",
        "0.804738",
        "gossipsim run 'configs/experiments/digits ring.json'",
        "ab" * 32,
        "c0ffee000000",
        "packages.torch",
        "train 1200, val 297, test 300",
    ):
        assert text in page.text, text


def test_diverged_cells_are_ranked_last(page: Page) -> None:
    body = page.source.split("<tbody>")[1].split("</tbody>")[0]
    last = body.split("<tr>")[-1]
    assert "0 of 2 (2 diverged)" in last
    assert "★" not in last


def test_page_has_a_drawing_per_network(page: Page) -> None:
    drawings = [str(attributes.get("class")) for tag, attributes in page.tags if tag == "svg"]
    assert drawings.count("topology") == 4


def test_hostile_names_are_text(hostile: Page) -> None:
    assert "alert(1)" not in re.sub(r"&lt;script&gt;alert\(1\)", "", hostile.source)
    assert hostile.source.count("<script>") == 1
    assert HOSTILE in hostile.text
    assert "49" not in re.findall(r"\{\{ 7 \* 7 \}\}|\b49\b", hostile.text)
    assert not any(name.startswith("on") for _, attributes in hostile.tags for name in attributes)


def test_readme_says_how_to_reproduce(page: Page, directory: Path) -> None:
    text = (directory / "README.md").read_text()
    assert page
    assert "gossipsim run 'configs/experiments/digits ring.json'" in text
    assert "ab" * 32 in text
    assert "16 runs (13 complete, 2 diverged, 1 failed)" in text
    for name in ("resolved.json", "history.jsonl", "results_mean.csv", "params_sha256"):
        assert name in text


def test_an_experiment_without_any_result_has_a_page(tmp_path: Path) -> None:
    statuses = {("M", "SGD", "", 0): "diverged", ("M", "SGD", "", 1): "missing"}
    page = build(tmp_path / "exp_0001", models=("M",), optimizers=("SGD",), cells={"": {}}, statuses=statuses)
    assert "1 diverged" in page.text
    assert [path.name for path in tmp_path.rglob("*.png")] == ["partition.png"]


def test_results_and_workflows_are_taken_too(tmp_path: Path) -> None:
    options: dict[str, Any] = {"models": ("M",), "optimizers": ("SGD",), "cells": {"": {}}}
    directory = fake_experiment.experiment(tmp_path / "exp_0007", **options, statuses={("M", "SGD", "", 0): "missing"})
    assert report.build(tmp_path) == report.build(load(directory)) == directory / "report.html"


def test_importing_the_report_loads_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, gossipsim.report, gossipsim.results;"
        "print({'torch', 'matplotlib', 'networkx', 'scipy'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "set()"


def test_building_a_report_needs_no_torch(tmp_path: Path) -> None:
    directory = fake_experiment.experiment(tmp_path / "exp_0001", models=("M",), optimizers=("SGD",), cells={"": {}})
    code = (
        f"import sys; sys.modules['torch'] = None; from gossipsim import report;"
        f"report.build({str(directory)!r}); print('torch.nn' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "False False"
