import json
import re
from pathlib import Path
from typing import Any

import fake_experiment
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from gossipsim import report
from gossipsim.report import figures, finals, legend, networks
from gossipsim.report import metrics as names
from gossipsim.report.axes import scale_horizontally
from gossipsim.report.curves import MOST_POINTS, Curve, curve, horizontal
from gossipsim.report.style import MARKERS, PALETTE, Styles
from gossipsim.report.svg import MOST_EDGES, topology
from gossipsim.results import Cell, Run, load


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_experiment.experiment(tmp_path_factory.mktemp("workflow") / "exp_0001", models=("MLP",))


@pytest.fixture(scope="module")
def plots(directory: Path) -> list[Path]:
    before = dict(mpl.rcParams)
    drawn = report.plots(directory)
    assert dict(mpl.rcParams) == before
    return drawn


def run(values: list[float], *, status: str = "complete", seed: int = 0, **more: Any) -> Run:
    history = [{"epoch": k, "step": 10 * k, "test_accuracy": value} for k, value in enumerate(values)]
    labels = {"task": "t", "model": "m", "optimizer": more.pop("optimizer", "o"), "cell": more.pop("cell", "c")}
    return Run(Path("x"), "key", seed, labels, {}, status, history=history, **more)


def cell(*runs: Run) -> Cell:
    return Cell(runs[0].labels, {}, list(runs))


def test_every_plot_is_a_png_and_a_pdf_in_its_place(plots: list[Path], directory: Path) -> None:
    names_of_plots = {path.relative_to(directory / "plots").as_posix().removeprefix("digits/") for path in plots}
    assert {
        "partition_nodes=4,_cycle_graph.png",
        "MLP/test_accuracy.png",
        "MLP/train_loss.png",
        "MLP/consensus.png",
        "MLP/test_accuracy_vs_bytes_sent.png",
        "MLP/train_loss_vs_bytes_sent.png",
        "MLP/consensus_vs_bytes_sent.png",
        "MLP/steps/batch_loss.png",
        "MLP/steps/consensus.png",
    } <= names_of_plots
    assert {"topology_cycle_graph,_n=4.png", "topology_complete_graph,_n=8.png"} <= names_of_plots
    assert {"MLP/final_test_accuracy_vs_nodes.png", "MLP/final_test_accuracy_vs_topology.png"} <= names_of_plots
    assert len(plots) <= 14 + 2 + 2 + 4
    for path in plots:
        assert path.stat().st_size > 1000
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_a_legend_lists_only_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fake_experiment.experiment(tmp_path / "exp_0001", models=("MLP",))
    for path in folder.rglob("StochasticFrankWolfe/**/history.jsonl"):
        records = [json.loads(line) | {"fw_gap": 1 / (k + 1)} for k, line in enumerate(path.read_text().splitlines())]
        fake_experiment.write_lines(path, records)
    listed: list[set[str]] = []

    def spy(cells: list[Cell], *arguments: Any, guide: str) -> Any:
        listed.append({cell.labels["optimizer"] for cell in cells})
        return legend.frame(cells, *arguments, guide=guide)

    monkeypatch.setattr(figures, "frame", spy)
    drawn = [path.name for path in report.plots(folder)]
    assert "fw_gap.png" in drawn
    assert sorted(map(len, listed)) == [1, 2, 2]  # one frame for the gap, one with both, and one with a guide
    assert {"StochasticFrankWolfe"} in listed


@pytest.mark.parametrize("kind", ["test_accuracy", "final_", "topology_", "partition_"])
def test_plots_carry_command_key_and_version(plots: list[Path], kind: str) -> None:
    path = next(path for path in plots if path.name.startswith(kind))
    with Image.open(path) as image:
        text = dict(image.text)  # type: ignore[attr-defined]
    assert text["Command"] == "gossipsim run 'configs/experiments/digits ring.json'"
    assert text["Key"] == "ab" * 32
    assert text["Software"] == "gossipsim 0.1.0"
    pdf = path.with_suffix(".pdf").read_bytes()
    assert b"/Creator (gossipsim 0.1.0)" in pdf
    assert b"key=" + b"ab" * 32 in pdf
    assert b"gossipsim run" in pdf


def test_pdf_fonts_are_ones_that_journals_accept(plots: list[Path]) -> None:
    pdf = plots[0].with_suffix(".pdf").read_bytes()
    assert not re.search(rb"/Subtype /Type3", pdf)
    assert re.search(rb"/FontFile2", pdf)


def test_same_results_give_the_same_files(plots: list[Path], directory: Path) -> None:
    before = {path: path.read_bytes() for path in (directory / "plots").rglob("*.p*")}
    report.plots(directory)
    assert {path: path.read_bytes() for path in before} == before
    assert len(before) == 2 * len(plots)


def test_curve_is_mean_and_std_over_complete_seeds() -> None:
    seeds = [[0.1, 0.5, 0.9], [0.2, 0.6, 0.7], [0.3, 0.1, 0.8]]
    found = curve(
        cell(*map(run, seeds), run([0.0, np.nan, 0.0], status="diverged"), run([9.0, 9.0], status="interrupted")),
        "epoch",
        "test_accuracy",
    )
    assert found is not None
    assert found.std is not None
    np.testing.assert_allclose(found.x, [0, 1, 2])
    np.testing.assert_allclose(found.mean, np.mean(seeds, axis=0))
    np.testing.assert_allclose(found.std, np.std(seeds, axis=0, ddof=1))


def test_curve_of_one_seed_has_no_band_and_long_ones_are_thinned() -> None:
    found = curve(cell(run(list(np.linspace(0, 1, 5001)))), "step", "test_accuracy")
    assert found is not None
    assert found.std is None
    assert len(found.x) <= MOST_POINTS + 1
    assert (found.x[0], found.x[-1], found.mean[-1]) == (0, 50000, 1)
    assert curve(cell(run([0.1, 0.2], status="diverged")), "step", "test_accuracy") is None
    assert curve(cell(run([0.1])), "step", "test_accuracy") is None
    assert curve(cell(run([0.1, 0.2])), "step", "absent") is None


def timed(times: list[float], losses: list[float]) -> Run:
    one = run(losses)
    one.history[:] = [{**record, "sim_time": time} for record, time in zip(one.history, times, strict=True)]
    return one


def test_seeds_that_are_elsewhere_after_a_step_are_compared_at_the_same_place() -> None:
    """Two straight lines in time: the mean over what both have covered is the mean of the lines, at every place."""
    slow = timed([0, 3, 6, 9], [1, 0.7, 0.4, 0.1])  # 1 - t/10
    fast = timed([0, 1, 2, 5], [1, 0.8, 0.6, 0.0])  # 1 - t/5
    found = curve(cell(slow, fast), "sim_time", "test_accuracy")
    assert found is not None
    assert found.std is not None
    np.testing.assert_allclose(found.x, [0, 1, 2, 3, 5])
    np.testing.assert_allclose(found.mean, 1 - 0.15 * found.x, atol=1e-15)
    np.testing.assert_allclose(found.std, 0.1 * found.x / np.sqrt(2), atol=1e-15)
    by_step = curve(cell(slow, fast), "step", "test_accuracy")
    assert by_step is not None
    np.testing.assert_allclose(by_step.mean, [1, 0.75, 0.5, 0.05])


def test_of_several_records_at_one_place_the_last_counts() -> None:
    """Bytes do not change between two exchanges."""
    one, other = timed([0, 0, 4, 4], [1, 0.8, 0.5, 0.4]), timed([0, 2, 2, 8], [1, 0.9, 0.6, 0.0])
    found = curve(cell(one, other), "sim_time", "test_accuracy")
    assert found is not None
    np.testing.assert_allclose(found.x, [0, 2, 4])
    np.testing.assert_allclose(found.mean, [(0.8 + 1) / 2, (0.6 + 0.6) / 2, (0.4 + 0.4) / 2])


def test_a_single_seed_is_drawn_through_its_records() -> None:
    found = curve(cell(timed([0, 0, 4, 4], [1, 0.8, 0.5, 0.4])), "sim_time", "test_accuracy")
    assert found is not None
    np.testing.assert_array_equal(found.x, [0, 0, 4, 4])
    np.testing.assert_array_equal(found.mean, [1, 0.8, 0.5, 0.4])


def test_seeds_that_have_nothing_in_common_have_no_curve() -> None:
    assert curve(cell(timed([0, 1], [1, 0]), timed([2, 3], [1, 0])), "sim_time", "test_accuracy") is None


def test_curves_against_rounds_bytes_and_simulated_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against rounds where they are not the steps again, and against time where it is known."""
    folder = fake_experiment.experiment(tmp_path / "exp_0001", models=("MLP",), optimizers=("SGD",))
    for module in (figures, finals, networks):
        monkeypatch.setattr(module, "save", lambda *_: None)

    def drawn(metric: str) -> set[str]:
        plots = [path for path in report.plots(folder) if path.parent.name == "MLP"]
        return {path.stem for path in plots if path.stem.startswith(metric)}

    assert drawn("consensus") == {"consensus", "consensus_vs_bytes_sent"}
    for path in folder.rglob("nodes=8*/**/history.jsonl"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        slower = [record | {"round": record["round"] // 4, "sim_time": 0.5 * record["step"]} for record in records]
        fake_experiment.write_lines(path, slower)
    axes = ("", "_vs_round", "_vs_bytes_sent", "_vs_sim_time")
    assert drawn("consensus") == {f"consensus{axis}" for axis in axes}
    assert drawn("train_loss") == {f"train_loss{axis}" for axis in axes}
    assert drawn("val_loss") == {"val_loss"}


def straight(length: float) -> Curve:
    x = np.array([0.0, 0.25, 0.5, 1.0]) * length
    return Curve("o", "c", x, np.array([1.0, 0.8, 0.5, 0.2]), None)


def test_a_curve_that_ends_long_before_the_others_is_seen() -> None:
    """On a log axis of what it costs; steps stay linear."""
    axes = Figure().add_subplot()
    for x, lengths, scale in (
        ("bytes_sent", (1e4, 1e6), "log"),
        ("bytes_sent", (1e5, 1e6), "linear"),
        ("sim_time", (1.0, 500.0), "log"),
        ("step", (10.0, 500.0), "linear"),
    ):
        scale_horizontally(axes, [straight(length) for length in lengths], x)
        assert axes.get_xscale() == scale
        low, high = axes.get_xlim()
        assert low <= (lengths[0] / 4 if scale == "log" else 0)
        assert high >= lengths[1]
        labels = [text.get_text() for text in axes.get_xticklabels()]
        assert sum(map(bool, labels)) >= 2, (x, labels)


def test_epochs_are_the_axis_only_where_they_tell_records_apart() -> None:
    assert horizontal([run([0.1, 0.2])]) == "epoch"
    same = run([0.1, 0.2])
    same.history[1]["epoch"] = 0
    assert horizontal([same]) == "step"


def grid(optimizers: int, topologies: list[str], rests: int) -> Styles:
    cells = {f"{topology}, r{k}": (topology, f"r{k}") for topology in topologies for k in range(rests)}
    return Styles(
        [f"o{k}" for k in range(optimizers)],
        list(cells),
        {cell: topology for cell, (topology, _) in cells.items()},
        {cell: rest for cell, (_, rest) in cells.items()},
    )


def test_an_optimizer_keeps_its_colour_a_topology_its_dash_and_the_rest_its_marker() -> None:
    topologies = ["ring", "complete", "mine"]
    styles = grid(7, topologies, 4)
    all_styles = {(o, c): styles(o, c) for o in styles.optimizers for c in styles.cells}
    for part, kept in (("colour", lambda o, _: o), ("dash", lambda _, c: c[:-4]), ("marker", lambda _, c: c[-2:])):
        looks: dict[str, set[str]] = {}
        for (optimizer, name), style in all_styles.items():
            looks.setdefault(kept(optimizer, name), set()).add(str(getattr(style, part)))
        assert all(len(found) == 1 for found in looks.values())
        assert len({look for found in looks.values() for look in found}) == len(looks)
    assert [styles(f"o{k}", "ring, r0").colour for k in range(7)] == list(PALETTE[:7])


def test_one_optimizer_leaves_its_colours_to_the_rest_or_to_topologies() -> None:
    assert len({styles.colour for styles in [Styles(["o"], ["a", "b"])("o", c) for c in "ab"]}) == 2
    rests = grid(1, ["ring", "star"], 5)
    assert len({rests("o0", f"ring, r{k}").colour for k in range(5)}) == 5
    assert rests("o0", "ring, r3").colour == rests("o0", "star, r3").colour
    alone = grid(1, ["ring", "star"], 1)
    looks = [alone("o0", f"{topology}, r0") for topology in ("ring", "star")]
    assert all(getattr(looks[0], part) != getattr(looks[1], part) for part in ("colour", "dash", "marker"))


def test_grey_has_a_marker_for_each_optimizer_where_nothing_else_needs_them() -> None:
    styles = grid(3, ["ring", "star"], 1)
    assert len({styles(f"o{k}", "ring, r0").marker for k in range(3)}) == 3


def test_well_known_names_look_the_same_in_two_experiments(tmp_path: Path) -> None:
    def styles(number: int, optimizers: tuple[str, ...], topologies: tuple[str, ...]) -> Styles:
        cells = {name: {"network.topology": f"networkx.{name}"} for name in topologies}
        folder = tmp_path / f"exp_{number:04d}"
        fake_experiment.experiment(folder, models=("M",), optimizers=optimizers, cells=cells, seeds=(0,))
        return Styles.of(load(folder))

    one = styles(1, ("SGD", "Mine", "Muon"), ("path_graph", "cycle_graph", "complete_graph"))
    other = styles(2, ("Muon", "Adam", "SGD"), ("complete_graph", "mine", "cycle_graph"))
    assert one("SGD", "cycle_graph").colour == other("SGD", "mine").colour == PALETTE[0]
    assert one("Muon", "cycle_graph").colour == other("Muon", "mine").colour
    assert len({one(name, "cycle_graph").colour for name in one.optimizers}) == 3
    for graph in ("cycle_graph", "complete_graph"):
        assert one("SGD", graph).dash == other("SGD", graph).dash
    assert len({str(other("SGD", graph).dash) for graph in other.cells}) == 3
    alone = styles(3, ("SGD",), ("complete_graph",))
    assert alone("SGD", "complete_graph").dash == "-"


def test_styles_in_the_words_of_plotly() -> None:
    styles = grid(1, ["ring", "complete"], len(MARKERS))
    assert styles("o0", "ring, r0").plotly_dash == "solid"
    assert styles("o0", "complete, r0").plotly_dash == "10px,3px"
    assert len({styles("o0", f"ring, r{k}").plotly_symbol for k in range(len(MARKERS))}) == len(MARKERS)


def test_curves_worth_a_figure_are_bounded_and_ordered() -> None:
    recorded = ["epoch", "train_loss", "test_accuracy", "local_test_accuracy_worst", "local_val_loss_mean", "my_f1"]
    assert names.curve_metrics(recorded, ["epoch"], 14) == [
        "test_accuracy",
        "train_loss",
        "local_test_accuracy_worst",
        "my_f1",
    ]
    assert len(names.curve_metrics([f"m{k}" for k in range(99)], [], 14)) == 14


def test_single_node_and_constant_runs_are_drawn(tmp_path: Path) -> None:
    directory = fake_experiment.experiment(
        tmp_path / "exp_0001", models=("M",), optimizers=("SGD",), cells={"": {"network.nodes": 1}}, seeds=(0,)
    )
    for path in directory.rglob("history.jsonl"):
        records = [
            {
                "epoch": k,
                "step": k,
                "round": 0,
                "train_loss": 0.5,
                "consensus": 0.0,
                "bytes_sent": 0,
                "test_loss": -0.1 * k,
            }
            for k in range(4)
        ]
        fake_experiment.write_lines(path, records)
    drawn = {path.name for path in report.plots(directory)}
    assert {"train_loss.png", "test_loss.png"} <= drawn
    assert not drawn & {"train_loss_vs_round.png", "train_loss_vs_bytes_sent.png"}


def test_many_cells_are_cut_to_the_best(tmp_path: Path) -> None:
    cells = {f"alpha={k}": {"alpha": k} for k in range(20)}
    directory = fake_experiment.experiment(
        tmp_path / "exp_0001", models=("M",), optimizers=("SGD",), cells=cells, seeds=(0,)
    )
    assert len(load(directory).cells) == 20
    assert len([path for path in report.plots(directory) if path.parent.name == "M"]) <= 14


def test_topology_drawing() -> None:
    drawing = topology(3, [[0, 1], [1, 0], [1, 2]], directed=True)
    assert drawing is not None
    assert drawing.count("<circle") == 3
    assert drawing.split('class="heads"')[1].count("Z") == 1
    assert topology(1, [], directed=False) is not None
    assert topology(200, [[0, 1]] * (MOST_EDGES + 1), directed=False) is None
