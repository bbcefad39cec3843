"""Every bad input: one clear line with its place, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import resource
import sys
from typing import Any

import pytest

from tests.cli.conftest import DIGITS, QUADRATIC, SGD, Workplace, config, with_params

TRAINER = config()["trainer"]
TRACKING = "gossipsim.strategies.GradientTracking"


def _network(**changes: Any) -> dict[str, Any]:
    return {"network": config()["network"] | changes}


# (configuration, a text on the line that is named, what the one line says after "c.json:LINE: ")
MISTAKES = {
    "unknown key": (
        config(strtegy=TRACKING),
        '"strtegy"',
        "strtegy: unknown key (did you mean 'strategy'?)",
    ),
    "unknown trainer param": (
        config(trainer=with_params(TRAINER, epcohs=3)),
        '"epcohs"',
        "trainer.params.epcohs: gossipsim.trainers.SupervisedTrainer takes no 'epcohs' (did you mean 'epochs'?)",
    ),
    "unknown optimizer param": (
        config(optimizer=with_params(SGD, momentun=0.9)),
        '"momentun"',
        "tasks[0].optimizers[0].params.momentun: torch.optim.SGD takes no 'momentun' (did you mean 'momentum'?)",
    ),
    "string for a number": (
        config(**_network(nodes="8")),
        '"nodes"',
        'network.nodes: expected an integer, got "8" (a string)',
    ),
    "bool for a number": (
        config(trainer=with_params(TRAINER, steps=True)),
        '"steps"',
        "trainer.params.steps: expected an integer or null, got true",
    ),
    "misspelt class": (
        config(optimizer="torch.optim.SDG"),
        "torch.optim.SDG",
        "tasks[0].optimizers[0]: 'torch.optim' has no 'SDG' (did you mean 'SGD'?)",
    ),
    "misspelt module": (
        config(model="gossipsim.modles.Vector"),
        "gossipsim.modles.Vector",
        "tasks[0].models[0]: 'gossipsim' has no 'modles' (did you mean 'models'?)",
    ),
    "misspelt user module": (
        config(model="mien.GivesUp"),
        "mien.GivesUp",
        "tasks[0].models[0]: no module 'mien' (did you mean 'mine'?)",
    ),
    "no nodes": (config(**_network(nodes=0)), '"nodes"', "network.nodes: expected an integer >= 1, got 0"),
    "negative nodes": (config(**_network(nodes=-4)), '"nodes"', "network.nodes: expected an integer >= 1, got -4"),
    "disconnected graph": (
        config(**_network(topology="networkx.empty_graph")),
        "networkx.empty_graph",
        "network.topology: networkx.empty_graph with 4 nodes is not connected",
    ),
    "graph of another size": (
        config(**_network(topology="networkx.star_graph")),
        "networkx.star_graph",
        "network.topology: networkx.star_graph has 5 nodes but network.nodes is 4; use gossipsim.network.star",
    ),
    "graph that cannot be": (
        config(**_network(nodes=5, topology={"class": "networkx.random_regular_graph", "params": {"d": 3}})),
        '"topology"',
        "network.topology: networkx.random_regular_graph: NetworkXError: n * d must be even",
    ),
    "no graph at all": (
        config(**_network(topology="mine.NotAGraph")),
        "mine.NotAGraph",
        "network.topology: mine.NotAGraph: graph(0) must be a networkx graph, got int",
    ),
    "weights that do not suit the strategy": (
        config(strategy=TRACKING, **_network(topology="gossipsim.network.star", weights="gossipsim.network.Uniform")),
        '"weights"',
        "network.weights: gossipsim.network.Uniform on gossipsim.network.star with 4 nodes is not doubly stochastic",
    ),
    "weights of another size": (
        config(**_network(weights="mine.too_small"), seeds=[0, 1]),
        '"weights"',
        "network.weights: mine.too_small on gossipsim.network.ring with 4 nodes: W must have shape (4, 4), got (3, 3)",
    ),
    "empty shard": (
        config(
            DIGITS,
            "gossipsim.models.LogisticRegression",
            partition={"class": "gossipsim.data.Dirichlet", "params": {"alpha": 0.01}},
            **_network(nodes=64),
        ),
        '"partition"',
        "partition: node 1 has no training samples (Dirichlet(alpha=0.01",
    ),
    "rejected value": (
        config(optimizer=with_params(SGD, lr=-1)),
        '"torch.optim.SGD"',
        "tasks[0].optimizers[0]: torch.optim.SGD: Invalid learning rate: -1",
    ),
    "closure with a corrected direction": (
        config(optimizer="torch.optim.LBFGS", strategy=TRACKING),
        "torch.optim.LBFGS",
        "tasks[0].optimizers[0]: torch.optim.LBFGS needs a closure",
    ),
    "schedule that needs a metric": (
        config(optimizer=SGD | {"schedule": "torch.optim.lr_scheduler.ReduceLROnPlateau"}),
        '"schedule"',
        "tasks[0].optimizers[0].schedule: torch.optim.lr_scheduler.ReduceLROnPlateau needs a metric",
    ),
    "model that does not fit the data": (
        config(DIGITS, "gossipsim.models.Vector"),
        "gossipsim.models.Vector",
        "tasks[0].models[0]: gossipsim.models.Vector does not fit gossipsim.tasks.DigitsSupervisedTask",
    ),
    "model that does not fit the theory": (
        config(QUADRATIC, "gossipsim.models.MLP"),
        "gossipsim.models.MLP",
        "tasks[0].models[0]: gossipsim.models.MLP has 897 parameters, but the optimum of "
        "gossipsim.tasks.QuadraticTask has 5; use gossipsim.models.Vector",
    ),
    "unknown field of the log": (
        config(trainer=with_params(TRAINER, log={"consnsus": 5})),
        '"log"',
        "trainer.params.log: gossipsim.trainers.SupervisedTrainer: log: unknown field 'consnsus'; known are",
    ),
    "strategy without a round": (
        config(strategy="mine.NoRound"),
        "mine.NoRound",
        "strategy: 'mine.NoRound' cannot be a strategy: it has no method round",
    ),
    "missing task directory": (
        config(task_dirs=["tasks/digist"]),
        "tasks/digist",
        "task_dirs[0]: no such directory: looked for ",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_its_place(mistake: str, place: Workplace) -> None:
    content, marker, message = MISTAKES[mistake]
    (line,) = place.refused(content)
    number = place.line(marker) - (mistake == "rejected value")  # the object begins on the line before its class
    assert line.startswith(f"c.json:{number}: {message}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1: the file is empty; expected JSON"),
        ('{"name": "x",\n "seeds": [1', ":2: seeds: the file ends too early: '[' of line 2 is not closed"),
        ("{'name': 3}", ":1: not valid JSON: expected a key in double quotes, got \"'name': 3}\""),
        ("[]", ":1: an experiment is a JSON object, got [] (a list)"),
    ],
)
def test_a_file_that_is_not_json(text: str, expected: str, place: Workplace) -> None:
    assert place.refused(text) == [f"c.json{expected}"]


def test_mistakes_of_the_text_are_told_with_the_others(place: Workplace) -> None:
    text = """{
 "name": "small",
 "name": "other",
 "tasks": [{"task": "gossipsim.tasks.QuadraticTask", "models": ["gossipsim.models.Vector"],
            "optimizers": [{"class": "torch.optim.SGD", "params": {"lr": NaN}}]}],
 "network": {"nodes": 0}
}"""
    assert place.refused(text) == [
        "c.json:3: name: duplicate key; the first is on line 2",
        "c.json:5: tasks[0].optimizers[0].params.lr: NaN is not JSON; give a finite number",
        "c.json:6: network.nodes: expected an integer >= 1, got 0",
    ]


def test_a_missing_file(place: Workplace) -> None:
    place.write("experiment.json", config())
    outcome = place.call("run", "experimnet.json")
    assert (outcome.code, outcome.out) == (2, "")
    looked = place.folder / "experimnet.json"
    (line,) = outcome.errors
    assert line == f"experimnet.json: no such file: looked for {looked} (did you mean 'experiment.json'?)"


def test_mistakes_in_all_files_at_once_and_sorted(place: Workplace) -> None:
    place.write("tasks/a/models.json", ["gossipsim.models.Vector"])
    place.write("tasks/a/optimizers.json", '[\n {"class": "torch.optim.SGD",\n  "params": {"lrr": 1}}\n]')
    place.write("tasks/b/task.json", '{"class": "gossipsim.tasks.QuadraticTsk"}')
    place.write("tasks/b/models.json", '["gossipsim.models.Vector",]')
    place.write("tasks/b/optimizers.json", '["torch.optim.SGD"]')
    lines = place.refused('{"name": "x",\n "sedes": [1],\n "task_dirs": ["tasks/a",\n  "tasks/b"]}')
    assert [line.partition(": ")[0] for line in lines] == [
        "c.json:2",
        "c.json:3",
        "tasks/a/optimizers.json:3",
        "tasks/b/models.json:1",
        "tasks/b/task.json:1",
    ]
    assert "did you mean 'seeds'?" in lines[0]
    assert "task_dirs[0]: no task.json in tasks/a" in lines[1]
    assert "did you mean 'lr'?" in lines[2]
    assert "did you mean 'QuadraticTask'?" in lines[4]


def test_what_only_building_can_tell_is_told_at_once_and_sorted(place: Workplace) -> None:
    content = config(
        optimizer=with_params(SGD, lr=-1),
        trainer=with_params(TRAINER, steps=0),
        seeds=[0, 1, 2],
        **_network(topology="networkx.empty_graph"),
    )
    content["tasks"][0]["models"].append("gossipsim.models.MLP")
    lines = place.refused(content)
    numbers = [int(line.split(":")[1]) for line in lines]
    assert numbers == sorted(numbers)
    assert [line.split(": ")[1] for line in lines] == [
        "tasks[0].models[1]",
        "tasks[0].optimizers[0]",
        "trainer.params.steps",
        "network.topology",
    ]


def test_an_error_in_a_task_directory_names_its_file(place: Workplace) -> None:
    place.write("tasks/a/task.json", QUADRATIC)
    place.write("tasks/a/models.json", ["gossipsim.models.Vector"])
    place.write("tasks/a/optimizers.json", [SGD, with_params(SGD, lr=-2)])
    content = {key: value for key, value in config(task_dirs=["tasks/a"]).items() if key != "tasks"}
    (line,) = place.refused(content)
    number = [
        i
        for i, text in enumerate((place.folder / "tasks/a/optimizers.json").read_text().splitlines(), 1)
        if "torch.optim.SGD" in text
    ][1] - 1
    assert line == f"tasks/a/optimizers.json:{number}: [1]: torch.optim.SGD: Invalid learning rate: -2"


def test_a_swept_mistake_names_the_entry_of_the_grid(place: Workplace) -> None:
    (line,) = place.refused(config(grid={"network.topology": ["gossipsim.network.ring", "networkx.empty_graph"]}))
    assert line.startswith(f'c.json:{place.line("networkx.empty_graph")}: grid["network.topology"][1]: networkx.empty')


@pytest.mark.parametrize("processes", [5, 64])
def test_more_processes_than_any_cell_can_use(processes: int, place: Workplace) -> None:
    lines = place.refused(config(), processes=processes)
    assert lines == [f"--processes {processes}: the largest cell has 4 node(s); use 1 to 4"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--set", "trainer.params.stpes=3"],
            "--set trainer.params.stpes: gossipsim.trainers.SupervisedTrainer takes no",
        ),
        (["--set", "trainer.params.steps=NaN"], "--set trainer.params.steps: NaN is not JSON; give a finite number"),
        (["--set", "trainer.params.steps"], "--set trainer.params.steps: write path=value"),
        (["--set", "netwrok.nodes=8"], "--set netwrok.nodes: unknown key 'netwrok' (did you mean 'network'?)"),
        (["--seeds", "5:5"], "--seeds 5:5: there is no seed in it"),
        (["--seeds", "x"], "--seeds x: write 0:5 (0 to 4), 1,7 or 3"),
        (["--seeds", "²"], "--seeds ²: write 0:5 (0 to 4), 1,7 or 3"),
        (["--seeds", "0:1000000000000"], "--seeds 0:1000000000000: more than 100000 runs"),
        (["--seeds", "1,1"], "--seeds: 1 stands there twice"),
        (["--processes", "some"], "--processes some: give auto, nodes or a positive number"),
        (["--processes", "0"], "--processes 0: give auto, nodes or a positive number"),
        (["--exp-id", "7"], "--exp-id 7: wf/exp_0007 does not exist (there: none)"),
        (["--exp-id", "7", "--new"], "--exp-id reuses an experiment, --new begins one: give one of them"),
        (
            ["--device", "gpu"],
            '--set trainer.params.device: gossipsim.trainers.SupervisedTrainer: device must be "cpu"',
        ),
        (["--config", "c.json"], "give one experiment file"),
        (["--workflow", "mine.py"], "mine.py: cannot be written (File exists): move away what stands there"),
    ],
)
def test_bad_options(arguments: list[str], expected: str, place: Workplace) -> None:
    (line,) = place.refused(config(), *arguments)
    assert line.startswith(expected)


def test_a_gpu_that_is_not_there(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    (line,) = place.refused(config(), "--device", "cuda")
    assert line.endswith("cuda needs a GPU and torch finds none on this machine; use --device cpu")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    (line,) = place.refused(config(), "--device", "cuda", processes=4)
    assert "cuda with 4 processes needs 4 GPUs, this machine has 1; use --processes 1" in line


def test_more_torchrun_ranks_than_any_cell_can_use(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "8", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert place.refused(config()) == ["torchrun started 8 ranks, but the largest cell has 4 node(s); use 1 to 4"]


def test_self_loops_and_odd_optimizers_that_work(place: Workplace) -> None:
    """Near misses: LBFGS where its closure can be had, and a graph with a self-loop."""
    outcome = place.run(config(optimizer="torch.optim.LBFGS", **_network(topology="mine.path_with_self_loops")))
    assert outcome.code == 0, outcome
    assert [record["status"] for record in place.records()] == ["complete"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much memory there is")
@pytest.mark.parametrize("dim", [10**8, 10**15])
def test_what_does_not_fit_in_memory(place: Workplace, monkeypatch: pytest.MonkeyPatch, dim: int) -> None:
    """As if 400 MB were free; afterwards there is no limit."""
    monkeypatch.setattr("gossipsim.preflight.SHARE_OF_MEMORY", 1)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    model = {"class": "gossipsim.models.MLP", "params": {"hidden": [dim]}}
    (line,) = place.refused(config(DIGITS, model))
    assert line.startswith(f"c.json:{place.line('gossipsim.models.MLP') - 1}: tasks[0].models[0]: ")
    assert "memory" in line
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
