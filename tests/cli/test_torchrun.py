"""The same command under torchrun: the same bytes, on one machine or two, and failures that are told and recorded."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import gossipsim
from tests.cli.conftest import DIGITS, Workplace, config
from tests.cli.jobs import TIMEOUT, finish, start

pytestmark = pytest.mark.slow

LEARNER: dict[str, Any] = {
    "task": DIGITS,
    "model": {"class": "gossipsim.models.CNN", "params": {"channels": [2, 4], "hidden": 8, "dropout": 0.2}},
    "optimizer": {"class": "torch.optim.SGD", "params": {"lr": 0.05, "momentum": 0.9}},
    "trainer": {
        "class": "gossipsim.trainers.SupervisedTrainer",
        "params": {"steps": 4, "batch_size": 4, "log_every": 2, "eval_every": 2},
    },
}


def same_bytes(one: Path, other: Path) -> None:
    """history.jsonl, steps.jsonl and the final parameters of all runs."""
    found = sorted(path.relative_to(one) for path in one.rglob("*.jsonl") if path.name != "timing.jsonl")
    assert found
    for path in found:
        assert (one / path).read_bytes() == (other / path).read_bytes(), path
    sums = [[run.summary["params_sha256"] for run in gossipsim.load(root).runs] for root in (one, other)]
    assert sums[0] == sums[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_eight_ranks_give_the_bytes_of_one_process_and_surplus_ranks_wait(place: Workplace) -> None:
    network = {"nodes": 8, "topology": "gossipsim.network.ring"}
    content = config(**LEARNER, network=network, grid={"network.nodes": [4, 8]})
    assert place.run(content | {"workflow": "alone"}).code == 0
    place.write("c.json", content)
    job = start("--nproc_per_node=8")
    output = finish(job)
    assert job.returncode == 0, output
    assert output.count("small: 2 runs -> ") == 1
    assert output.count(" complete ") == 2
    same_bytes(Path("alone/exp_0001"), Path("wf/exp_0001"))
    assert (place.folder / "wf/exp_0001/report.html").is_file()


def test_two_machines_give_the_bytes_of_one_process(place: Workplace) -> None:
    content = config(**LEARNER, strategy="gossipsim.strategies.GradientTracking")
    assert place.run(content | {"workflow": "alone"}).code == 0
    place.write("c.json", content)
    meeting = ["--nnodes=2", "--nproc_per_node=2", "--master_addr=127.0.0.1", f"--master_port={free_port()}"]
    jobs = [start(*meeting, f"--node_rank={rank}") for rank in (0, 1)]
    outputs = [finish(job) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], outputs
    same_bytes(Path("alone/exp_0001"), Path("wf/exp_0001"))


@pytest.mark.parametrize(
    ("how", "told", "recorded"),
    [
        ("raise", "failed at node 3, rank 3: RuntimeError: strategy gave up", "RuntimeError: strategy gave up"),
        ("sys.exit", "failed at node 3, rank 3: SystemExit: 0", "SystemExit: 0"),
        ("exit 0", "failed at node 3, rank 3: PeerLost: rank 3 is gone", "PeerLost: rank 3 is gone or stuck ("),
        ("kill", "(local_rank: 3)", ""),
    ],
)
def test_a_failure_ends_the_job_names_the_culprit_and_is_recorded(
    how: str, told: str, recorded: str, place: Workplace
) -> None:
    place.write("c.json", config(strategy={"class": "mine.Breaks", "params": {"how": how}}))
    job = start("--nproc_per_node=4")
    output = finish(job)
    assert job.returncode == 1
    assert told in output
    (record,) = place.records()
    assert record["status"] == "failed", output
    message = record["error"]["message"]
    assert message.startswith(recorded)
    if how == "kill":
        assert "rank 3 is gone" in message or "torchrun ended the job because a rank died" in message
    else:
        assert (record["error"]["node"], record["error"]["rank"]) == (3, 3)


@pytest.mark.parametrize(
    ("culprit", "options", "told"),
    [
        ("networkx.empty_graph", (), "network.topology: networkx.empty_graph with 4 nodes is not"),
        (
            "torch.optim.SGD",
            ("--allow", "networkx"),
            "tasks[0].optimizers[0].class: 'torch.optim.SGD' is outside of what --allow names: networkx",
        ),
    ],
)
def test_a_bad_configuration_is_told_once_and_writes_nothing(
    culprit: str, options: Sequence[str], told: str, place: Workplace
) -> None:
    topology = culprit if culprit.startswith("networkx") else "gossipsim.network.ring"
    place.write("c.json", config(network={"nodes": 4, "topology": topology}))
    before = sorted(place.folder.rglob("*"))
    job = start("--nproc_per_node=2", after=options)
    output = finish(job)
    assert job.returncode == 1, "torchrun's own exit code"
    assert output.count(f"c.json:{place.line(culprit)}: {told}") == 1, output
    assert not [path for path in sorted(place.folder.rglob("*")) if path not in before and "pycache" not in str(path)]


def test_an_experiment_is_resumed_by_other_means(place: Workplace) -> None:
    """Begun in one process, completed under torchrun: what exists is skipped."""
    content = config(seeds=[0, 1])
    assert place.run(content).code == 0
    (lost,) = place.folder.glob("wf/exp_0001/runs/**/seed_1/run.json")
    lost.write_text(json.dumps(json.loads(lost.read_text()) | {"status": "running"}))
    job = start("--nproc_per_node=2")
    output = finish(job)
    assert job.returncode == 0, output
    assert "2 runs, 1 of them exist already" in output
    assert [record["status"] for record in place.records()] == ["complete", "complete"]


@pytest.mark.parametrize(("transport", "new"), [("gloo", ()), ("shared", ("--new",))])
def test_ranks_that_are_lost_are_started_again_and_go_on(
    transport: str, new: tuple[str, ...], place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice in one run: the job succeeds, with the bytes of a run to which nothing happened."""
    monkeypatch.setenv("GOSSIPSIM_TRANSPORT", transport)
    content = config(**LEARNER | {"strategy": "mine.Falls"})
    content["trainer"]["params"] |= {"steps": 30, "checkpoint_every": 4}
    assert place.run(content | {"workflow": "alone"}).code == 0
    place.write("c.json", content)
    job = start("--nproc_per_node=4", "--max-restarts=2", after=new)
    output = finish(job)
    assert job.returncode == 0, output
    assert "goes on at step 8" in output
    assert "goes on at step 20" in output
    assert place.experiments() == ["exp_0001"]
    same_bytes(Path("alone/exp_0001"), Path("wf/exp_0001"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_job_at_a_round_from_which_it_goes_on(
    number: signal.Signals, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = config(**LEARNER | {"strategy": "mine.Slow"})
    content["trainer"]["params"] |= {"steps": 60, "checkpoint_every": "1h"}
    assert place.run(content | {"workflow": "alone"}).code == 0
    place.write("c.json", content)
    monkeypatch.setenv("PAUSE", "0.1")
    job = start("--nproc_per_node=4")
    deadline = time.monotonic() + TIMEOUT
    while not list(place.folder.glob("wf/**/steps.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    job.send_signal(number)
    output = finish(job)
    assert job.returncode != 0
    assert [record["status"] for record in place.records()] == ["interrupted"], output
    assert len(list(place.folder.glob("wf/**/checkpoint/step_*.pt"))) == 1
    monkeypatch.delenv("PAUSE")
    assert "goes on at step" in place.run(content, processes=2).out
    same_bytes(Path("alone/exp_0001"), Path("wf/exp_0001"))
