"""Panels, guides, final values and node colours: what the further kinds of figures show."""

import json
from pathlib import Path

import fake_experiment
import numpy as np
import pytest
from matplotlib.figure import Figure

from gossipsim.report.axes import scale_vertically
from gossipsim.report.curves import Curve, curve, further_axes
from gossipsim.report.facets import CROWDED, facets
from gossipsim.report.finals import places_of, series
from gossipsim.report.guide import guides
from gossipsim.report.legend import handles_of
from gossipsim.report.networks import networks, node_colours
from gossipsim.report.parts import Parts
from gossipsim.report.style import Styles
from gossipsim.results import Results, load

TOPOLOGIES = ("cycle_graph", "complete_graph", "star_graph")
CELLS = {
    f"{topology}, alpha={alpha}": {"network.topology": f"networkx.{topology}", "alpha": alpha}
    for topology in TOPOLOGIES
    for alpha in (0.1, 1, 10)
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("kinds") / "exp_0001"
    return load(fake_experiment.experiment(folder, models=("M",), cells=CELLS, seeds=(0, 1, 2)))


def test_crowded_curves_are_laid_out_in_panels_of_a_swept_value(results: Results) -> None:
    laid_out = facets(results.cells, Styles.of(results), Parts.of(results))
    panels: dict[str, int] = {}
    for cell in results.cells:
        panels[laid_out.of(cell)] = panels.get(laid_out.of(cell), 0) + 1
    assert panels == {"alpha=0.1": 6, "alpha=1": 6, "alpha=10": 6}
    few = facets(results.cells[:CROWDED], Styles.of(results), Parts.of(results))
    assert {few.of(cell) for cell in results.cells} == {""}


def test_a_legend_has_a_block_for_colours_and_one_for_dashes(results: Results) -> None:
    laid_out = facets(results.cells, Styles.of(results), Parts.of(results))
    blocks = handles_of(results.cells, laid_out)
    assert [[handle.get_label() for handle in block] for block in blocks] == [
        ["SGD", "StochasticFrankWolfe"],
        list(TOPOLOGIES),
    ]
    markers = handles_of(results.cells[:CROWDED], facets(results.cells[:2], Styles.of(results), Parts.of(results)))
    assert [handle.get_label() for handle in markers[-1]] == ["alpha=0.1", "alpha=1", "alpha=10"]


def test_the_guide_shrinks_by_slem_squared_per_round(results: Results) -> None:
    cell = next(cell for cell in results.cells if cell.labels["cell"].startswith("cycle"))
    for axis in ("epoch", "step"):
        line = curve(cell, axis, "consensus")
        assert line is not None
        [guide] = guides([(cell, line)], axis, Styles.of(results).topology, lowest=1e-30)
        slem = cell.runs[0].summary["network"]["slem"]
        per_round = (
            np.diff(np.log(guide.y)) / np.diff(guide.x) / (fake_experiment.STEPS_PER_EPOCH if axis == "epoch" else 1)
        )
        np.testing.assert_allclose(per_round, 2 * np.log(slem), rtol=1e-9)
        start = int(np.flatnonzero(line.x == guide.x[0])[0])
        assert guide.y[0] == pytest.approx(line.mean[start])
        assert guide.topology == "cycle_graph"


def test_a_network_that_reaches_the_mean_at_once_has_no_guide(results: Results) -> None:
    cell = next(cell for cell in results.cells if cell.labels["cell"].startswith("complete"))
    line = curve(cell, "epoch", "consensus")
    assert line is not None
    assert guides([(cell, line)], "epoch", Styles.of(results).topology, lowest=1e-30) == []


def test_final_values_are_means_over_seeds_at_the_swept_value(results: Results) -> None:
    places = places_of(results.cells, "alpha", Parts.of(results))
    assert places.numeric
    found = series(
        results.cells, "test_accuracy", places, facets([], Styles.of(results), Parts.of(results), without=("alpha",))
    )
    assert len(found) == 2 * len(TOPOLOGIES)
    sgd_on_a_ring = found[0]
    np.testing.assert_array_equal(sgd_on_a_ring.values, [0.1, 1, 10])
    for alpha, mean, std in zip(sgd_on_a_ring.values, sgd_on_a_ring.mean, sgd_on_a_ring.std, strict=True):
        last = [
            run.history[-1]["test_accuracy"]
            for run in results.runs
            if run.labels["optimizer"] == "SGD" and run.labels["cell"] == f"cycle_graph, alpha={alpha:g}"
        ]
        assert len(last) == 3
        assert mean == pytest.approx(np.mean(last))
        assert std == pytest.approx(np.std(last, ddof=1))


def test_topologies_stand_side_by_side_with_all_seeds(results: Results) -> None:
    places = places_of(results.cells, "network.topology", Parts.of(results))
    assert not places.numeric
    assert dict.fromkeys(places.words) == dict.fromkeys(TOPOLOGIES)
    found = series(results.cells, "test_accuracy", places, facets([], Styles.of(results), Parts.of(results)))
    assert len(found) == 2 * 3  # optimizers and alphas
    assert all(len(seeds) == 3 for one in found for seeds in one.seeds)


def test_axes_that_only_rescale_another_are_left_out(results: Results) -> None:
    assert further_axes(results.runs, "epoch") == ["bytes_sent"]
    run = results.runs[0]
    slower = [
        {**record, "round": record["round"] // 4, "gradient_evals": 3 * record["gradient_evals"]}
        for record in run.history
    ]
    other = type(run)(run.directory, run.key, 0, run.labels, {}, "complete", history=slower)
    assert further_axes([run, other], "epoch") == ["round", "bytes_sent", "gradient_evals"]


def test_agreement_to_rounding_is_drawn_at_the_edge() -> None:
    axes = Figure().add_subplot()
    apart, agreed = (Curve("o", "c", np.arange(3.0), np.array(y), None) for y in ([1e-14, 0.5, 0.1], [1e-14] * 3))
    scale_vertically(axes, [apart, agreed], "consensus", bands=True)
    assert axes.get_ylim()[0] > 1e-3
    assert axes.get_yticklabels()[0].get_text() == "≈ 0"
    steady = Curve("o", "c", np.arange(15.0), 10.0 ** -np.arange(15), None)
    scale_vertically(axes, [steady], "consensus", bands=True)
    assert axes.get_ylim()[0] < 1e-14


def test_nodes_are_coloured_by_their_distance_where_it_was_recorded(results: Results, tmp_path: Path) -> None:
    found = networks(results, Styles.of(results))
    runs = found["cycle_graph"]
    assert node_colours(runs).label == "total variation of classes"
    assert node_colours(runs).values in [run.summary["total_variation"] for run in runs]
    frames = [{"step": step, "round": step, "distance": [0.1 * step, 0.2, 0.3, 0.4]} for step in (0, 7)]
    recorded = type(runs[0])(tmp_path, "k", 0, runs[0].labels, {}, "complete", summary=runs[0].summary)
    (tmp_path / "nodes.jsonl").write_text("".join(json.dumps(frame) + "\n" for frame in frames))
    colours = node_colours([recorded])
    assert (colours.label, colours.values) == ("distance to the mean after step 7", frames[-1]["distance"])
