"""Tables for papers: right numbers, escaped names, marks, and a LaTeX that compiles."""

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import fake_experiment
import numpy as np
import pytest
from scipy import stats

from gossipsim.report.grids import Axes, Grid, Line, Number, listing, pivot
from gossipsim.report.tables import comma_separated, escape, latex, markdown, write
from gossipsim.results import Results, load, summarize

NAMES = ("SGD_50%", "Dirichlet(α=0.1)|{x}", "Ünicode & 学 ~^\\")
DIVERGED = {("M_1", NAMES[1], "nodes=8, cycle_graph", 1): "diverged"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("workflow") / "exp_0001"
    return load(
        fake_experiment.experiment(folder, models=("M_1",), optimizers=NAMES, seeds=(0, 1, 2), statuses=DIVERGED)
    )


def ends(results: Results, metric: str, **labels: str) -> list[float]:
    """Last values of complete seeds from the raw files."""
    found = []
    for run in results.runs:
        record = json.loads((run.directory / "run.json").read_text())
        if record["status"] == "complete" and all(record[key] == value for key, value in labels.items()):
            found.append(json.loads((run.directory / "history.jsonl").read_text().splitlines()[-1])[metric])
    return found


@pytest.mark.parametrize("spread", ["std", "ci95"])
def test_numbers_follow_from_the_raw_files(results: Results, spread: Any) -> None:
    text = markdown(listing(results.selected_cells, ["test_accuracy", "train_loss"]), spread=spread)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 12
    for name in NAMES:
        for cell in fake_experiment.CELLS:
            values = ends(results, "test_accuracy", optimizer=name, cell=cell)
            sem = np.std(values, ddof=1) / np.sqrt(len(values))
            half = {"std": np.std(values, ddof=1), "ci95": stats.t.ppf(0.975, len(values) - 1) * sem}[spread]
            plain = [re.sub(r"</?u>|\*\*|\\", "", line) for line in table]
            shown = name.replace("\\", "")
            (line,) = [each for each in plain if each.startswith(f"| {shown} | {cell.replace(chr(92), '')} |")]
            mean, given = re.search(r"\| ([\d.]+) ± ([\d.]+)", line.removeprefix(f"| {shown}")).groups()  # type: ignore[union-attr]
            assert float(mean) == pytest.approx(np.mean(values), abs=0.51 * 10 ** -len(mean.partition(".")[2]))
            assert float(given) == pytest.approx(half, abs=0.51 * 10 ** -len(given.partition(".")[2]))


def test_csv_is_not_rounded(results: Results) -> None:
    grid = pivot(results.selected_cells, results.swept, ["nodes", "optimizer"], "topology", "test_loss")
    rows = list(csv.DictReader(io.StringIO(comma_separated(grid))))
    assert [(row["nodes"], row["optimizer"]) for row in rows] == [(n, name) for n in "48" for name in NAMES]
    for row in rows:
        for topology in ("cycle_graph", "complete_graph"):
            values = ends(results, "test_loss", optimizer=row["optimizer"], cell=f"nodes={row['nodes']}, {topology}")
            assert float(row[f"test_loss[{topology}]_mean"]) == pytest.approx(np.mean(values), rel=1e-14)
            assert float(row[f"test_loss[{topology}]_std"]) == pytest.approx(np.std(values, ddof=1), rel=1e-12)
            assert int(row[f"test_loss[{topology}]_n"]) == len(values)


def test_a_pivot_compares_within_columns_and_blocks(results: Results) -> None:
    grid = pivot(results.selected_cells, results.swept, ["nodes", "optimizer"], "topology", "test_accuracy")
    assert grid.columns == ["cycle_graph", "complete_graph"]
    for column in range(2):
        for nodes in "48":
            block = [line for line in grid.lines if line.labels[0] == nodes]
            able = [line.numbers[column] for line in block]
            assert all(able)
            marks = [number.mark for number in able if number]
            assert marks.count("best") == 1
            lacking = [number.seeds for number in able if number and number.seeds]
            assert lacking == (["2 of 3"] if (column, nodes) == (0, "8") else [])


def test_several_cells_in_one_place_are_refused_with_a_way_out(results: Results) -> None:
    with pytest.raises(ValueError, match=r"they differ in network\.nodes; add it to --rows, or .*--where 'nodes=4'"):
        pivot(results.selected_cells, results.swept, ["optimizer"], "topology", None)
    with pytest.raises(ValueError, match=r"'colour' is not an axis.*topology"):
        pivot(results.selected_cells, results.swept, ["optimizer"], "colour", None)
    with pytest.raises(ValueError, match="recorded 'f1'; there are epoch"):
        listing(results.selected_cells, ["f1"])
    axes = Axes(results.swept)
    assert len(axes.where(results.selected_cells, ["nodes=8", f"optimizer={NAMES[0]}"])) == 2
    with pytest.raises(ValueError, match="nodes is one of 4, 8"):
        axes.where(results.selected_cells, ["nodes=9"])


def test_one_seed_shows_no_spread(tmp_path: Path) -> None:
    single = load(fake_experiment.experiment(tmp_path / "exp_0001", models=("M",), seeds=(0,)))
    text = markdown(listing(single.selected_cells))
    assert "One seed per cell" in text
    assert "±" not in text
    assert "<u>" not in text


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([3.1e-8, 3.3e-8], r"$(3.20 \pm 0.14) \times 10^{-8}$"),
        ([0.9712, 0.9734], r"$0.9723 \pm 0.0016$"),
        ([152.0, 148.0], r"$150.0 \pm 2.8$"),
        ([1e7, 1e7], r"$(1.00 \pm 0.00) \times 10^{7}$"),
        ([0.0, 0.0], r"$0.000 \pm 0.000$"),
        ([float("inf"), 1.0], r"$\infty \pm \mathrm{nan}$"),
        ([0.25], "$0.2500$"),
    ],
)
def test_digits_are_those_that_the_spread_leaves(values: list[float], shown: str) -> None:
    summary = summarize(values)
    assert summary is not None
    grid = Grid(["optimizer", "n"], ["loss"], ["loss"], [Line(["SGD", "2"], [Number(summary)], ())], [])
    assert f"SGD & 2 & {shown} " in latex(grid)


def test_names_are_escaped() -> None:
    assert escape("a_b & 50% #1 {x} $5 ~ ^ \\") == (
        r"a\_b \& 50\% \#1 \{x\} \$5 \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert escape("α≤Δ 学 é") == r"$\alpha$$\leq$$\Delta$ ? é"


def test_both_files_lie_beside_the_report(results: Results) -> None:
    written = write(results)
    assert [path.relative_to(results.directory).as_posix() for path in written] == [
        "tables/digits/M_1.tex",
        "tables/digits/M_1.md",
    ]
    text = written[0].read_text()
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\mathbf{", r"\underline{"):
        assert rule in text
    assert all(line.startswith("%") for line in text.splitlines()[:3])


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(results: Results, tmp_path: Path) -> None:
    grids = [
        listing(results.selected_cells),
        pivot(results.selected_cells, results.swept, ["nodes", "optimizer"], "topology", None),
    ]
    tables = "\n\n".join(latex(grid, origin="50% of \\x") for grid in grids)
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\tiny " + tables + r"\end{document}"
    (tmp_path / "table.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace")
    assert outcome.returncode == 0, outcome.stdout[-1500:]
    assert (tmp_path / "table.pdf").read_bytes().startswith(b"%PDF")
