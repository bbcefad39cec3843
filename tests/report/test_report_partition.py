"""How samples lie on the nodes: one figure per distinct partition, with the counts, sizes and distances of its run."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import fake_experiment
import numpy as np
import pytest
from matplotlib.figure import Figure

from gossipsim import report
from gossipsim.report.partition import MOST_NODES, MOST_PARTITIONS, Placement, drawn, heat_map, placements
from gossipsim.results import load

PIXEL = 1 / 144


def placement(counts: Any, cells: list[str] | None = None) -> Placement:
    table = np.array(counts)
    shares = table / table.sum(axis=1, keepdims=True)
    distances = np.abs(shares - table.sum(axis=0) / table.sum()).sum(axis=1) / 2
    sizes = table.sum(axis=1).tolist()
    return Placement("t", cells or [""], 0, sizes, {}, table.tolist(), distances.tolist(), Path("partition.png"))


def colours(figure: Figure) -> np.ndarray[Any, Any]:
    """What the heat map shows, (nodes, classes, 4)."""
    return np.asarray(figure.axes[0].images[0].get_array())


def numbers(figure: Figure) -> dict[tuple[int, int], str]:
    """(node, class) -> the count written there."""
    return {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in figure.axes[0].texts}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs diverged: that draws no curves, and the samples lie where they lie."""
    models, optimizers = ("MLP", "LogisticRegression"), ("SGD", "Adam")
    runs = itertools.product(models, optimizers, fake_experiment.CELLS, (0, 1))
    folder = fake_experiment.experiment(
        tmp_path_factory.mktemp("workflow") / "exp_0001",
        models=models,
        optimizers=optimizers,
        statuses=dict.fromkeys(runs, "diverged"),
    )
    report.build(folder)
    return folder


def test_a_figure_per_partition_and_not_per_optimizer_model_or_seed(directory: Path) -> None:
    names = sorted(path.name for path in (directory / "plots" / "digits").glob("*.p*"))
    # the topology changes nothing: cells with as many nodes have the same partition
    cells = ["partition_nodes=4,_cycle_graph", "partition_nodes=8,_cycle_graph"]
    assert names == [f"{cell}.{kind}" for cell in cells for kind in ("pdf", "png")]
    found = placements(load(directory))
    assert [one.cells for one in found] == [
        [f"nodes={nodes}, {graph}" for graph in ("cycle_graph", "complete_graph")] for nodes in (4, 8)
    ]
    assert [one.seed for one in found] == [0, 0]


def test_a_partition_of_all_cells_is_named_after_none(tmp_path: Path) -> None:
    cells = {name: cell for name, cell in fake_experiment.CELLS.items() if "nodes=8" in name}
    runs = itertools.product(("MLP",), ("SGD",), cells, (0, 1))
    statuses = dict.fromkeys(runs, "diverged")
    folder = tmp_path / "exp_0001"
    fake_experiment.experiment(folder, models=("MLP",), optimizers=("SGD",), cells=cells, statuses=statuses)
    report.build(folder)
    assert sorted(path.name for path in (folder / "plots" / "digits").glob("*.p*")) == [
        "partition.pdf",
        "partition.png",
    ]
    (found,) = placements(load(folder))
    assert found.title == "digits (seed 0)"


def test_the_page_shows_it_with_its_statistics(directory: Path) -> None:
    page = (directory / "report.html").read_text()
    section = page.split('id="data"')[1].split("</section>")[0]
    assert section.count('<img src="data:image/png;base64,') == 2
    assert "digits: nodes=8 (seed 0)" in section  # what its cells share
    for found in placements(load(directory)):
        for name, value in found.facts().items():
            assert f"<dt>{name}</dt><dd>{value}</dd>" in section


def test_statistics_in_words() -> None:
    facts = placement([[4, 0, 0], [0, 2, 2], [1, 1, 0]]).facts()
    assert facts == {
        "nodes": "3",
        "samples of a node": "2 to 4",
        "classes of a node": "1 to 2",
        "total-variation distance": "mean 0.400, largest 0.500 (node 0)",
    }
    assert placement([[3, 3], [3, 3]]).facts()["samples of a node"] == "6"


def test_what_a_figure_shows() -> None:
    counts = [[120, 0, 7], [0, 1, 60]]
    figure = heat_map(placement(counts, ["alpha=0.1"]))
    shown = colours(figure)
    assert shown.shape == (2, 3, 4)
    assert (shown[0, 1] == 1).all()
    assert (shown[1, 0] == 1).all()
    brightness = {count: shown[i, j, :3].sum() for i, row in enumerate(counts) for j, count in enumerate(row)}
    assert brightness[0] > brightness[1] > brightness[7] > brightness[60] > brightness[120]
    assert numbers(figure) == {(0, 0): "120", (0, 2): "7", (1, 1): "1", (1, 2): "60"}
    heat, sizes, distances, scale = figure.axes
    assert heat.get_ylim() == sizes.get_ylim() == distances.get_ylim() == (1.5, -0.5)  # node 0 on top
    bars = [axes.patches[0].get_data().values.tolist() for axes in (sizes, distances)]  # type: ignore[attr-defined]
    assert bars == [[127, 61], placement(counts).distances]
    assert scale.get_xlim() == (1, 120)
    assert "alpha=0.1" in {text.get_text() for text in figure.texts}


@pytest.mark.parametrize("nodes", [25, 100, 300, 519, 1000, MOST_NODES])
def test_every_node_of_many_has_a_row_of_pixels(nodes: int) -> None:
    figure = heat_map(placement(np.eye(nodes, 10, dtype=int) + 1))
    rows = figure.axes[0].get_position().height * figure.get_figheight() / PIXEL
    assert rows == pytest.approx(nodes * round(rows / nodes))
    assert figure.axes[0].images[0].get_interpolation() == "nearest"
    assert not numbers(figure)
    ticks = figure.axes[0].get_yticks()
    assert 4 <= len(ticks) <= 13
    assert len({int(b - a) for a, b in itertools.pairwise(ticks)}) == 1
    assert figure.get_figheight() < 16


@pytest.mark.parametrize("shape", [(1, 1), (1, 10), (2, 2), (24, 16), (24, 100), (40, 2)])
def test_small_and_wide_ones(shape: tuple[int, int], tmp_path: Path) -> None:
    figure = heat_map(placement(np.full(shape, 100_000)))
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert bool(numbers(figure)) is (shape[1] <= 2 and shape[0] <= 24)


def test_how_many_are_drawn() -> None:
    few = placement([[1, 2], [3, 4]])
    without = Placement("t", [""], 0, [2, 2], {}, None, None, Path("partition.png"))
    many = placement(np.ones((MOST_NODES + 1, 2), dtype=int))
    assert drawn([without, few, many]) == [few]
    assert len(drawn([few] * (MOST_PARTITIONS + 5))) == MOST_PARTITIONS
    assert without.facts() == {"nodes": "2", "samples of a node": "2"}
