"""`gossipsim animate`: which run, what is on the pictures, and what is refused."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import gossipsim
from gossipsim.cli import app
from gossipsim.report.animation import Look, animate
from gossipsim.report.film import film
from gossipsim.results import Results

CONFIG = {
    "name": "animated",
    "tasks": [
        {
            "task": {"class": "gossipsim.tasks.LogisticTask", "params": {"samples": 60, "dim": 2}},
            "models": ["gossipsim.models.Vector"],
            "optimizers": [{"class": "torch.optim.SGD", "params": {"lr": 0.5}}],
        }
    ],
    "trainer": {
        "class": "gossipsim.trainers.SupervisedTrainer",
        "params": {"steps": 12, "eval_every": 4, "batch_size": 4, "init": "independent"},
    },
    "grid": {"network.topology": ["networkx.cycle_graph", "gossipsim.network.OnePeerExponential"]},
    "network": {"nodes": 4},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return gossipsim.run(CONFIG, workflow=tmp_path_factory.mktemp("workflow"))


def call(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["animate", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_the_pictures_change_where_nodes_and_points_are(results: Results, tmp_path: Path) -> None:
    path = animate(results, results.runs[0], tmp_path / "out.gif", Look(most=4, fps=10))
    assert path.stat().st_size < 200_000
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.info["loop"]) == (4, 0)
        pictures = []
        for number in range(4):
            gif.seek(number)
            pictures.append(np.asarray(gif.convert("RGB")).astype(int))
        assert gif.info["duration"] == 1500
    height, width, _ = pictures[0].shape
    changed = np.abs(pictures[-1] - pictures[0]).sum(axis=2) > 60
    assert changed[:, : width // 2].any()
    assert changed[: height // 2, width // 2 :].any()
    assert changed[height // 2 :, width // 2 :].any()
    assert not changed[: height // 8].any()  # the title stands still
    assert (pictures[0][0] == 255).all()


def test_a_film_has_the_numbers_of_the_files(results: Results) -> None:
    run = results.runs[0]
    frames = run.frames()
    shown = film(results, run, None, "local_test_accuracy", most=1000)
    assert shown.rounds.tolist() == [frame["round"] for frame in frames]
    assert shown.distances.tolist() == [frame["distance"] for frame in frames]
    assert shown.metric == "test_accuracy"
    assert shown.curve[1].tolist() == [record["test_accuracy"] for record in run.history]
    evaluated = {frame["step"]: frame["local_test_accuracy"] for frame in frames if "local_test_accuracy" in frame}
    assert shown.values[5].tolist() == evaluated[4]  # of the last evaluation before
    few = film(results, run, "train_loss", "distance", most=5)
    assert (few.rounds[0], few.rounds[-1], len(few.rounds)) == (0, 12, 5)


def test_of_an_experiment_the_run_with_these_words(results: Results) -> None:
    code, out, err = call(results.directory, "--run", "OnePeer seed_0", "--frames", 3)
    assert (code, err) == (0, "")
    assert str(results.runs[1].directory) in out
    (path,) = (results.directory / "animations").glob("*.gif")
    assert str(path) in out
    assert "OnePeerExponential" in path.name


def test_a_run_directory(results: Results, tmp_path: Path) -> None:
    code, out, _ = call(results.runs[1].directory, "-o", tmp_path / "out.gif", "--frames", 2)
    assert code == 0
    assert str(results.runs[1].directory) in out
    assert (tmp_path / "out.gif").read_bytes()[:4] == b"GIF8"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_mp4(results: Results, tmp_path: Path) -> None:
    path = animate(results, results.runs[0], tmp_path / "out.mp4", Look(most=2))
    assert b"ftyp" in path.read_bytes()[:16]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out.avi"], "-o: the file must end in .gif or .mp4, got 'out.avi'"),
        (["--metric", "loss"], "--metric loss: not recorded; known here are train_loss, val_loss"),
        (["--value", "accuracy"], "--value accuracy: not recorded; known here are distance, local_val_loss"),
        (["--run", "torus"], "--run 'torus': no run has all these words"),
    ],
)
def test_what_cannot_be_shown_is_refused(arguments: list[str], message: str, results: Results) -> None:
    code, out, err = call(results.directory, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_an_mp4_without_ffmpeg_is_refused(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ValueError, match="needs ffmpeg"):
        animate(results, results.runs[0], tmp_path / "out.mp4")


def test_a_run_without_frames_is_refused(tmp_path: Path) -> None:
    alone = gossipsim.run(CONFIG, overrides={"network.nodes": 1, "grid": {}}, workflow=tmp_path)
    code, _, err = call(alone.directory)
    assert code == 2
    assert "nodes.jsonl" in err


def test_the_same_run_gives_the_same_bytes(results: Results, tmp_path: Path) -> None:
    files = [animate(results, results.runs[0], tmp_path / f"{k}.gif", Look(most=2)).read_bytes() for k in range(2)]
    assert files[0] == files[1]
    assert Image.open(io.BytesIO(files[0])).size == (880, 450)
