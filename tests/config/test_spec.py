from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import networkx
import pytest

from gossipsim.spec import (
    BuildError,
    LocateError,
    build,
    build_optimizer,
    locate,
    normalise,
    signature_problems,
    use_import_path,
)
from tests.config.conftest import spec


@pytest.fixture(autouse=True)
def _parts(workplace: Path) -> None:
    use_import_path([workplace])


def test_normalise_copies_and_fills_in() -> None:
    given = {"class": "a.B", "params": {"x": {"class": "c.D"}, "y": [1]}, "clip": 1}
    assert normalise(given) == {
        "class": "a.B",
        "params": {"x": {"class": "c.D", "params": {}, "name": "D"}, "y": [1]},
        "name": "B",
        "clip": 1,
    }
    assert normalise(normalise(given)) == normalise(given)
    with pytest.raises(ValueError, match="got 3"):
        normalise(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"params: expected an object"):
        normalise({"class": "a.B", "params": 3})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("networkx.cycle_grap", r"'networkx' has no 'cycle_grap' \(did you mean 'cycle_graph'\?\)"),
        ("networkxx.ring", r"no module 'networkxx' \(did you mean 'networkx'\?\)"),
        ("torch.optim.Sgd", r"'torch.optim' has no 'Sgd' \(did you mean 'SGD'\?\)"),
        ("parts.strategy", r"did you mean 'Strategy'"),
        ("SGD", "not a dotted path"),
        ("", "not a dotted path"),
        ("os..path", "not a dotted path"),
        ("parts.Ball.nope", "'parts.Ball' has no 'nope'"),
        ("broken.Thing", r"importing 'broken' failed: SyntaxError: .*broken.py, line 1"),
        ("quits.Thing", "importing 'quits' failed: SystemExit"),
        ("needs.Thing", "importing 'needs' failed: ModuleNotFoundError: No module named 'not_there_at_all'"),
    ],
)
def test_what_cannot_be_located(path: str, message: str, workplace: Path) -> None:
    (workplace / "broken.py").write_text("def (:\n")
    (workplace / "quits.py").write_text("raise SystemExit(3)\n")
    (workplace / "needs.py").write_text("import not_there_at_all\n")
    with pytest.raises(LocateError, match=message):
        locate(path)


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        (spec("parts.Task", siz=1), ("params", "siz"), "takes no 'siz' (did you mean 'size'?)"),
        (spec("parts.Weights", x=1), ("params", "x"), "takes no params"),
        (spec("parts.Task", size="8"), ("params", "size"), 'expected an integer, got "8" (a string)'),
        (spec("parts.Task", size=True), ("params", "size"), "expected an integer, got true"),
        (spec("parts.Task", size=1.0), ("params", "size"), "expected an integer, got 1.0"),
        (spec("parts.Task", root=3), ("params", "root"), "expected a string or null, got 3"),
        (
            spec("parts.Ball"),
            ("params", "radius"),
            "missing: parts.Ball requires 'radius' (a number or a string)",
        ),
        (
            spec("parts.Ball", radius=[1]),
            ("params", "radius"),
            "expected a number or a string, got [1] (a list)",
        ),
        (spec("parts.Ball", radius=float("nan")), ("params", "radius"), "not a number that JSON has"),
        (spec("parts.number"), ("class",), "is a int; a class or a function is needed"),
        (spec("networkx.cycle_graph", n=4, m=3), ("params", "m"), "takes no 'm'"),
        (spec("networkx.random_regular_graph", n=4), ("params", "d"), "requires 'd'"),
        (spec("collections.abc.Sized"), ("class",), "is abstract (it lacks __len__)"),
        (spec("parts.Task", odd={"class": 3}), ("params", "odd", "class"), "expected a dotted path"),
        (
            spec("parts.Task", odd={"class": "a.b", "parms": 1}),
            ("params", "odd", "parms"),
            "did you mean 'params'",
        ),
        (
            spec("parts.Task", odd=[{"class": "parts.Bal"}]),
            ("params", "odd", 0, "class"),
            "did you mean 'Ball'",
        ),
        (spec("torch.optim.SGD", params=[], lr="0.1"), ("params", "lr"), 'expected a number, got "0.1"'),
        (spec("torch.optim.Adam", params=[], betas=[0.9]), ("params", "betas"), "a list of 2"),
    ],
)
def test_signature_problems(given: dict[str, Any], path: tuple[str | int, ...], message: str) -> None:
    problems = signature_problems(given)
    assert [at for at, _ in problems] == [path]
    assert message in problems[0][1]


def test_what_is_offered_or_leading_is_not_missing() -> None:
    assert signature_problems(spec("parts.model"), offered=("input_shape", "num_classes")) == []
    assert signature_problems(spec("parts.optimizer", lr=1), leading=1) == []
    problems = signature_problems(spec("parts.optimizer", lr=1, params=[], mode="exat"), leading=1)
    assert "takes no 'params'" in problems[0][1]
    assert """one of "exact", "linear", got "exat" (a string) (did you mean 'exact'?)""" in problems[1][1]


def test_the_hook_of_an_optimizer_is_what_is_checked() -> None:
    assert signature_problems(spec("parts.HookedOptimizer", radius="auto*2", step=1), leading=1) == []
    problems = signature_problems(spec("parts.HookedOptimizer", stpe=1), leading=1)
    assert [path for path, _ in problems] == [("params", "stpe"), ("params", "radius")]


def test_networkx_functions_show_their_signature() -> None:
    for name in ("cycle_graph", "erdos_renyi_graph", "watts_strogatz_graph", "karate_club_graph"):
        problems = signature_problems(spec(f"networkx.{name}", nonsense=1), offered=("n", "p", "k", "seed"))
        assert [path for path, _ in problems] == [("params", "nonsense")]


class _Module:
    def parameters(self) -> list[int]:
        return [1, 2]


def test_build() -> None:
    graph = build({"class": "networkx.random_regular_graph", "params": {"d": 3}}, n=8, seed=0, colour="red")
    assert networkx.is_regular(graph)
    assert build(spec("parts.ring", n=3), n=8) == 3
    assert build("parts.model", input_shape=(2,), num_classes=3) == ((2,), 3, None)
    nested = build(spec("parts.optimizer", lr=1, constraint=[spec("parts.Ball", radius=2)]), params=[])
    assert nested[2][0].radius == 2
    assert build_optimizer(spec("parts.optimizer", lr=1), _Module())[0] == [1, 2]
    hooked = build_optimizer(spec("parts.HookedOptimizer", radius=3, step=0.5), _Module())
    assert (hooked.params, hooked.constraint, hooked.step) == ([1, 2], ("ball", 3), 0.5)


def test_build_errors_say_where() -> None:
    with pytest.raises(BuildError) as caught:
        build(spec("parts.optimizer", params=0, lr=1, constraint=[0, spec("parts.Stubborn", value=2)]))
    assert caught.value.path == "params.constraint[1].params.value"  # the message begins with a param
    assert caught.value.message == "parts.Stubborn: value must be odd, got 2"
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(BuildError, match="TypeError"):
        build(spec("parts.Ball"))
    with pytest.raises(BuildError, match="class: 'parts' has no 'Nope'"):
        build("parts.Nope")


def test_two_folders_with_a_module_of_the_same_name(workplace: Path) -> None:
    for name in ("one", "two", "none"):
        (workplace / name).mkdir()
        if name != "none":
            (workplace / name / "twins.py").write_text(f"def where(): return {name!r}\n")
    for name in ("one", "two", "one"):
        use_import_path([workplace / name, workplace])
        assert sys.path[:2] == [str(workplace / name), str(workplace)]
        assert locate("twins.where")() == name
    assert [sys.path.count(str(workplace / name)) for name in ("one", "two", ".")] == [1, 0, 1]
    package = sys.modules["gossipsim"]
    use_import_path([workplace / "none", workplace])
    with pytest.raises(LocateError, match="no module 'twins'"):
        locate("twins.where")
    assert sys.modules["gossipsim"] is package
