"""`gossipsim cite`: an entry for everything that ships and has a source; a run's own entries, and no others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gossipsim.catalogue import Part, shipped
from gossipsim.citations import cite, entries, sources_of
from gossipsim.citations.citing import _data
from gossipsim.cli import app
from gossipsim.strategies import claims_of

FOLKLORE = {
    "strategy": {"AllReduce"},
    "topology": {
        "barbell",
        "binary_tree",
        "caterpillar",
        "complete",
        "directed_ring",
        "edge_list",
        "federated_star",
        "grid",
        "hypercube",
        "lollipop",
        "path",
        "random_regular",
        "ring",
        "star",
        "torus",
        "two_cliques",
    },
    "weights": {"FromFile", "Lazy", "Own", "Uniform"},
    "partition": {"ByColumn", "FromFile", "IID", "Sorted"},
    "compression": {"Identity"},
    "optimizer": set(),
    "task": {"LogisticTask", "QuadraticTask"},
}
"""What nobody has to be cited for."""


def ours(kind: str) -> list[Part]:
    return [part for part in shipped(kind) if part.path.startswith("gossipsim.")]


@pytest.mark.parametrize("kind", FOLKLORE)
def test_everything_that_ships_has_an_entry_or_is_folklore(kind: str) -> None:
    rules = _data("sources.json")
    assert {part.name for part in ours(kind) if part.path not in rules} == FOLKLORE[kind]


def test_the_key_that_a_strategy_claims_is_among_its_entries() -> None:
    for part in ours("strategy"):
        from gossipsim.compression import TopK

        strategy = part.target(TopK(k=1)) if part.name == "CHOCO" else part.target()
        claimed = claims_of(strategy).citation
        params = {"variant": "diging"} if part.name == "GradientTracking" else {}
        assert not claimed or claimed in sources_of(part.path, params), part.path


def test_strategies_without_a_graph_are_those_that_claim_so() -> None:
    from gossipsim.compression import TopK
    from gossipsim.strategies import Scaffnew

    listed = _data("ignores_graph.json")
    for part in ours("strategy"):
        strategy = part.target(TopK(k=1)) if part.name == "CHOCO" else part.target()
        assert (claims_of(strategy).over != "graph") == (listed.get(part.path) == {}), part.path
    assert listed["gossipsim.strategies.Scaffnew"] == {"over": [claims_of(Scaffnew(over="server")).over]}


def test_every_rule_names_entries_params_and_classes_that_exist() -> None:
    from gossipsim.spec import locate
    from gossipsim.spec.signature import accepted_by

    cited: set[str] = {"gossipsim", "paszke2019pytorch", "hagberg2008networkx"}
    for path, rules in _data("sources.json").items():
        target = locate(path.replace("optim.Backtracking", "optim.step_sizes.Backtracking"))
        accepted = accepted_by(target, 1 if ".optim." in path else 0)
        for rule in rules:
            keys = [rule] if isinstance(rule, str) else rule["cite"]
            cited |= set(keys)
            assert set(keys) <= set(entries()), path
            if isinstance(rule, dict):
                assert accepted is not None
                assert {*rule.get("params", {}), *rule.get("unless", {})} <= set(accepted.hints), path
                assert all(locate(other) for other in rule.get("with", []))
    assert cited == set(entries()), "an entry that nothing cites"


def test_entries_are_well_formed() -> None:
    for key, entry in entries().items():
        assert entry.count("{") == entry.count("}"), key
        fields = set(re.findall(r"^  (\w+) = \{.+\},$", entry, re.MULTILINE))
        assert {"title", "author", "year"} <= fields, key
        assert len(fields) == entry.count("\n") - 1, key
        year = re.search(r"year = \{(\d{4})\}", entry)
        digits = re.search(r"\d{4}", key)
        assert year is not None
        assert digits is None or year.group(1) == digits.group(), key


def run_spec(**changes: Any) -> dict[str, Any]:
    spec = {
        "task": {"class": "gossipsim.tasks.DigitsSupervisedTask"},
        "model": {"class": "gossipsim.models.CNN"},
        "optimizer": {"class": "torch.optim.SGD", "params": {"lr": 0.1}},
        "strategy": {"class": "gossipsim.strategies.EXTRA"},
        "partition": {"class": "gossipsim.data.Dirichlet", "params": {"alpha": 0.1}},
        "network": {
            "nodes": 8,
            "topology": {"class": "gossipsim.network.exponential"},
            "weights": {"class": "gossipsim.network.MetropolisHastings"},
        },
    }
    return spec | changes


def keys(*runs: dict[str, Any]) -> list[str]:
    return [one.key for one in cite(runs, {})[0]]


SOFTWARE = ["gossipsim", "paszke2019pytorch", "hagberg2008networkx"]


def test_a_run_is_cited_by_its_parts() -> None:
    data = ["alpaydin1998digits", "yurochkin2019dirichlet", "hsu2019dirichlet"]
    network = ["ying2021exponential", "xiao2007average"]
    assert keys(run_spec()) == ["shi2015extra", "robbins1951", *data, *network, *SOFTWARE]


def test_runs_share_entries() -> None:
    assert keys(run_spec(), run_spec()) == keys(run_spec())


def test_what_is_not_used_is_not_cited() -> None:
    alone = run_spec(network=run_spec()["network"] | {"nodes": 1})
    assert keys(alone) == ["robbins1951", "alpaydin1998digits", *SOFTWARE]
    averaged = run_spec(strategy={"class": "gossipsim.strategies.AllReduce"})
    assert not {"ying2021exponential", "xiao2007average"} & set(keys(averaged))
    for over, cited in (("server", False), ("graph", True)):
        scaffnew = {"class": "gossipsim.strategies.Scaffnew", "params": {"over": over}}
        assert ("ying2021exponential" in keys(run_spec(strategy=scaffnew))) is cited


def test_compositions_are_methods_of_their_own() -> None:
    tracking = {"class": "gossipsim.strategies.GradientTracking", "params": {}}
    ball = {"class": "gossipsim.optim.constraints.L2", "params": {"radius": 1.0}}
    rule = {"class": "gossipsim.optim.step_sizes.Backtracking", "params": {}}
    frank_wolfe = {"class": "gossipsim.optim.FrankWolfe", "params": {"constraint": ball, "step_size": rule}}
    found = keys(run_spec(strategy=tracking, optimizer=frank_wolfe))
    assert {"wai2017defw", "dilorenzo2016next", "jaggi2013", "pedregosa2020backtracking"} <= set(found)
    assert "he2025demuon" in keys(run_spec(strategy=tracking, optimizer={"class": "gossipsim.optim.Muon"}))
    assert "wai2017defw" not in keys(run_spec(optimizer=frank_wolfe))


def test_params_decide() -> None:
    path = "gossipsim.strategies.LocalThenGossip"
    assert "stich2019local" not in sources_of(path, {"local_steps": 1}) + sources_of(path, {})
    assert "stich2019local" in sources_of(path, {"local_steps": 4})
    assert sources_of("gossipsim.data.Dirichlet", {"by": "node"}) == ["hsu2019dirichlet"]


def experiment(folder: Path, *, started: bool = True) -> Path:
    """The files that citing needs."""
    directory = folder / "exp_0001"
    run = directory / "runs" / "a"
    run.mkdir(parents=True)
    (directory / "resolved.json").write_text(json.dumps({"runs": [{"directory": "runs/a"}]}))
    (directory / "env.json").write_text(json.dumps({"packages": {"gossipsim": "0.1.0", "torch": "2.9.9"}}))
    if started:
        own = run_spec(strategy={"class": "my_parts.MyGossip"})
        (run / "run.json").write_text(json.dumps({"spec": own}))
    return directory


def test_a_run_an_experiment_and_a_workflow_without_torch(tmp_path: Path) -> None:
    directory = experiment(tmp_path)
    script = "import sys; sys.modules['torch'] = None; from gossipsim.cli import main; main()"
    printed = {
        subprocess.run(
            [sys.executable, "-c", script, "cite", str(path)], check=True, capture_output=True, text=True
        ).stdout
        for path in (directory / "runs" / "a", directory, tmp_path)
    }
    assert len(printed) == 1
    text = printed.pop()
    assert "note = {Version 2.9.9}" in text
    assert "% optimizer torch.optim.SGD\n@article{robbins1951," in text


def test_json_tells_of_classes_that_are_not_known(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["cite", str(experiment(tmp_path)), "--json"])
    printed = json.loads(done.stdout)
    assert printed["unknown"] == ["my_parts.MyGossip"]
    assert printed["citations"][0]["reasons"] == ["optimizer torch.optim.SGD"]


def test_a_configuration_can_be_cited_too() -> None:
    root = Path(__file__).parents[2]
    done = CliRunner().invoke(app, ["cite", str(root / "configs" / "experiments" / "lasso_defw.json")])
    assert done.exit_code == 0
    assert "@article{wai2017defw" in done.stdout


def test_where_there_is_nothing(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "x", "neither a run"),
        (experiment(tmp_path, started=False), "no run has started"),
    ):
        done = CliRunner().invoke(app, ["cite", str(path)])
        assert done.exit_code == 2
        assert reason in done.stderr
