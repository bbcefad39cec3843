"""The older command line: what flags mean, which of them are refused, and that all go the ordinary way."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner

import gossipsim.report
from gossipsim.config import plan
from gossipsim.legacy import CONSTRAINTS, Flags, checks, matrix, single
from gossipsim.legacy.flags import Heterogeneity, Optimizer, Strategy, Task
from gossipsim.legacy_runner import legacy_command
from gossipsim.network import NAMES
from gossipsim.results import load

APP = typer.Typer()
APP.command()(legacy_command)


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(APP, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gossipsim.report, "build", lambda directory: directory)  # seconds of plots per experiment
    return tmp_path


def printed(*arguments: str) -> Any:
    code, out, err = call(*arguments, "--print-config")
    assert (code, err) == (0, "")
    return json.loads(out)


@pytest.mark.parametrize("heterogeneity", get_args(Heterogeneity))
@pytest.mark.parametrize("strategy", get_args(Strategy))
@pytest.mark.parametrize("task", get_args(Task))
def test_every_combination_is_an_experiment(task: Task, strategy: Strategy, heterogeneity: Heterogeneity) -> None:
    for optimizer, topology in itertools.product(get_args(Optimizer), ("ring", "complete")):
        flags = Flags("gossip", task, optimizer, strategy, topology, heterogeneity, n_nodes=4)
        assert flags.problems() == []
        (run,) = plan(single(flags)).runs
        assert run.network["nodes"] == 4
        assert run.labels["task"] == task


@pytest.mark.parametrize("name", NAMES)
def test_every_topology_that_has_a_short_name(name: str) -> None:
    assert plan(single(Flags("gossip", topology=name))).runs


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_every_set(name: Any) -> None:
    config = single(Flags(task="mnist", optimizer="fw", constraint=name))
    assert plan(config).runs
    assert CONSTRAINTS[name] in json.dumps(config)


def test_what_flags_mean() -> None:
    config = printed("--env", "gossip", "--task", "quadratic", "--optimizer", "fw", "--strategy", "gradient_tracking",
                     "--topology", "complete", "--heterogeneity", "label_skew", "--n-nodes", "5", "--steps", "30",
                     "--dim", "7", "--cond", "3", "--constraint", "l1", "--radius", "2.5", "--step-size", "1/(t+1)",
                     "--seeds", "0:2", "--batch-size", "2")  # fmt: skip
    (entry,) = config["tasks"]
    assert entry["task"]["params"] == {"heterogeneity": 1.0, "dim": 7, "condition": 3.0}
    assert entry["optimizers"][0]["class"] == "gossipsim.optim.FrankWolfe"
    assert entry["optimizers"][0]["params"] == {
        "constraint": {"class": "gossipsim.optim.constraints.L1", "params": {"radius": 2.5}},
        "step_size": "1/(t+1)",
    }
    assert config["network"]["nodes"] == 5
    assert config["network"]["topology"]["class"] == "gossipsim.network.complete"
    assert config["strategy"]["class"] == "gossipsim.strategies.GradientTracking"
    assert (config["trainer"]["params"]["steps"], config["trainer"]["params"]["batch_size"]) == (30, 2)
    assert config["seeds"] == [0, 1]


def test_label_skew_is_shards_where_there_are_labels() -> None:
    config = printed("--env", "gossip", "--task", "logistic", "--heterogeneity", "label_skew", "--n-samples", "300")
    assert config["partition"] == "gossipsim.data.Shards"
    assert config["tasks"][0]["task"]["params"] == {"samples": 300}
    assert printed("--task", "mnist", "--n-samples", "500")["tasks"][0]["task"]["params"] == {"train_size": 500}


def test_whole_shards_but_for_sgd_and_images() -> None:
    batches = {
        (task, optimizer): Flags(task=task, optimizer=optimizer).batch()
        for task in get_args(Task)
        for optimizer in get_args(Optimizer)
    }
    assert {pair for pair, batch in batches.items() if batch is None} == {
        *itertools.product(("quadratic", "logistic"), ("fw", "gd", "pgd", "adam")),
        ("mnist", "gd"),
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topology", "ring"], "--topology: --env single has one node; use --env gossip"),
        (["--n-nodes", "4"], "--n-nodes: --env single has one node"),
        (["--optimizer", "sgd", "--constraint", "l1"], "--constraint: --optimizer sgd is not constrained"),
        (["--radius", "2"], "--radius: --optimizer gd is not constrained"),
        (["--optimizer", "fw", "--lr", "0.1"], "--lr: full Frank-Wolfe has a rule"),
        (["--step-size", "0.1"], "--step-size: a rule of Frank-Wolfe"),
        (["--batch-size", "3"], "--batch-size: gd takes the whole shard"),
        (["--task", "logistic", "--cond", "5"], "--cond: --task logistic has no such size"),
        (["--task", "mnist", "--dim", "5"], "--dim: --task mnist has no such size"),
        (["--optimizer", "pgd", "--constraint", "nuclear"], "--constraint nuclear: a set of matrices"),
        (["--optimizer", "fw", "--constraint", "simplex", "--radius", "1"], "--radius: the probability simplex"),
        (["--animate"], "--animate: there is one node; use --env gossip"),
        (["--seed", "1", "--seeds", "0:2"], "--seeds: --seed gives one already"),
        (["--mode", "matrix", "--optimizer", "fw"], "--optimizer: --mode matrix goes through its own"),
        (["--mode", "checks", "--env", "gossip"], "--env: --mode checks has an environment of its own"),
        (["--env", "gossip", "--topology", "rng"], "did you mean 'ring'"),
        (["--optimizer", "fw", "--step-size", "2/(k+2)"], "2/(k+2)"),
    ],
)
def test_flags_that_do_not_fit_are_refused(arguments: list[str], message: str, here: Path) -> None:
    code, out, err = call(*arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert list(here.iterdir()) == []


def test_a_run_and_the_configuration_to_go_on_from(here: Path) -> None:
    arguments = ["--env", "gossip", "--strategy", "gradient_tracking", "--n-nodes", "3", "--steps", "60", "--animate"]
    code, out, _ = call(*arguments)
    assert code == 0
    (run,) = load(here / "workflow/legacy/legacy").runs
    assert run.status == "complete"
    assert run.spec["strategy"]["class"] == "gossipsim.strategies.GradientTracking"
    assert run.last["suboptimality"] < 1e-3
    config = json.loads((run.directory.parents[5] / "config.json").read_text())
    assert plan(config).runs[0].key == run.key
    assert "report" in out
    assert f"gossipsim run {Path('workflow/legacy/legacy/exp_0001/config.json')}" in out
    (animation,) = here.glob("workflow/legacy/legacy/exp_0001/animations/*.gif")
    assert animation.read_bytes()[:4] == b"GIF8"


@pytest.mark.parametrize("size", ["small", "full"])
def test_the_matrix_crosses_what_flags_choose_one_of(size: Any) -> None:
    plans = [plan(config) for config in matrix(Flags(seeds=[0, 1]), size)]
    runs = [run for made in plans for run in made.runs]
    assert {run.labels["optimizer"] for run in runs} == {"FW-l2", "PGD-l2", "GD", "SGD", "Adam"}
    assert {run.labels["task"] for run in runs} >= {"quadratic", "logistic"}
    assert ("mnist" in {run.labels["task"] for run in runs}) == (size == "full")
    assert {run.seed for run in runs} == {0, 1}
    assert len({run.key for run in runs}) == len(runs)


def test_a_dry_run_lists_the_matrix_and_writes_nothing(here: Path) -> None:
    code, out, _ = call("--mode", "matrix", "--dry-run", "--animate")
    assert code == 0
    assert out.count("gradient_tracking") == 12 + 4
    assert list(here.iterdir()) == []


@pytest.mark.slow
def test_a_small_matrix(here: Path) -> None:
    code, _, _ = call("--mode", "matrix", "--steps", "5", "--jobs", "2")
    assert code == 0
    runs = [
        run for name in ("", "_minibatch") for run in load(here / f"workflow/legacy/legacy_matrix_small{name}").runs
    ]
    assert len(runs) == 2 * 3 * 2 * 3 + 2 * 2 * 3
    assert {run.status for run in runs} == {"complete"}


def test_checks_fail_where_there_is_too_little_time(here: Path) -> None:
    code, out, _ = call("--mode", "checks", "--steps", "3")
    assert code == 1
    assert "FAIL" in out


@pytest.mark.slow
def test_checks_pass(here: Path) -> None:
    code, out, _ = call("--mode", "checks")
    assert code == 0
    assert out.count("PASS") == sum(len(config["gates"]) for config in checks(Flags())) == 7
    assert "FAIL" not in out
