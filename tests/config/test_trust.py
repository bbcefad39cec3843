"""Which class paths are refused, before they are imported or called, and which are not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from gossipsim.config import ConfigError, plan
from gossipsim.spec import LocateError, allow_only, build, locate, signature_problems, use_import_path
from tests.config.conftest import errors_of, experiment, spec

MINE = """
import functools
import os
import subprocess
from builtins import eval as number_of
from subprocess import Popen as Model
from torch.hub import load

from parts import model

shell = functools.partial(subprocess.run, shell=True)
twice = functools.partial(functools.partial(os.system), "true")


@functools.wraps(os.system)
def disguised(command):
    return os.system(command)


@functools.cache
def cached(n):
    return n


small = functools.partial(model, hidden=[2])


class Path:
    def __init__(self, n=1):
        self.n = n

    @classmethod
    def of(cls, n):
        return cls(n)

    def __call__(self, n):
        return n


at_hand = Path()


def nothing() -> None:
    raise AssertionError


def number() -> "int":
    raise AssertionError
"""


@pytest.fixture(autouse=True)
def _parts(workplace: Path) -> None:
    (workplace / "hostile.py").write_text(MINE)
    (workplace / "imaplib.py").write_text("class Strategy:\n    pass\n")  # named as a module of the standard library
    use_import_path([workplace])


REFUSED = """
    os.system subprocess.Popen subprocess.run shutil.rmtree posix.system pty.spawn importlib.import_module
    runpy.run_path pickle.loads marshal.loads shelve.open ctypes.CDLL socket.socket webbrowser.open sys.exit
    gc.collect multiprocessing.Process threading.Thread operator.methodcaller functools.partial functools.reduce
    typing.get_type_hints types.FunctionType pathlib.Path tempfile.mkdtemp logging.FileHandler sqlite3.connect
    urllib.request.urlopen antigravity.fly this.s idlelib.run test.support.run_doctest os.path.join
    collections.namedtuple builtins.eval builtins.exec builtins.compile builtins.open builtins.__import__
    builtins.getattr builtins.dict.fromkeys torch.os.system torch.sys.exit torch.load torch.save torch.hub.load
    torch.hub.load_state_dict_from_url torch.serialization.load torch.utils.cpp_extension.load_inline
    torch.utils.collect_env.run torch.jit.load torch.ops.load_library torch.utils.benchmark.Timer
    torch.distributed.init_process_group torch.multiprocessing.spawn torch.utils.tensorboard.SummaryWriter
    torch.fx.GraphModule numpy.save numpy.savetxt numpy.memmap numpy.f2py.compile numpy.testing.rundocs
    networkx.write_gml networkx.draw scipy.sparse.save_npz scipy.io.savemat sympy.sympify joblib.load dill.loads
    cloudpickle.loads cffi.FFI yaml.load gossipsim.run gossipsim.runner.run gossipsim.results.write_text
    gossipsim.spec.locate gossipsim.world.Ranks
    gossipsim.tasks.files.shutil.rmtree parts.Ball.__init__ parts.Ball.__class__.__subclasses__
    parts.__loader__.load_module __hello__.main hostile.Model hostile.number_of hostile.load hostile.shell
    hostile.twice hostile.disguised hostile.os.system
"""

GOOD = """
    hostile.cached hostile.small hostile.Path hostile.Path.of hostile.at_hand imaplib.Strategy math.prod
    fractions.Fraction collections.OrderedDict random.Random builtins.dict datetime.timedelta torch.optim.SGD
    torch.relu torch.nn.Linear torch.nn.Embedding.from_pretrained torch.nn.functional.relu
    torchvision.models.resnet18 torch.optim.lr_scheduler.StepLR torch.utils.data.TensorDataset
    networkx.cycle_graph networkx.read_edgelist networkx.Graph numpy.load numpy.add numpy.random.default_rng
    scipy.sparse.csr_matrix gossipsim.network.ring gossipsim.optim.constraints.L1 gossipsim.compression.TopK
"""


@pytest.mark.parametrize("path", REFUSED.split())
def test_what_is_refused(path: str) -> None:
    with pytest.raises(LocateError, match=r"refused|no part of an experiment|two underscores"):
        locate(path)


def test_a_refused_module_is_not_imported() -> None:
    loaded = set(sys.modules)
    for path in ("antigravity.fly", "this.s", "idlelib.run", "torch.utils.collect_env.run", "sympy.a", "yaml.load"):
        with pytest.raises(LocateError):
            locate(path)
    assert set(sys.modules) == loaded


@pytest.mark.parametrize(
    "path",
    GOOD.split(),
)
def test_what_is_not(path: str) -> None:
    assert callable(locate(path))


@pytest.mark.parametrize(
    ("changes", "place", "why"),
    [
        ({"strategy": spec("torch.os.system", command="touch ran")}, "strategy.class", "(posix.system) is refused"),
        ({"strategy": "hostile.Model"}, "strategy", "'hostile.Model' (subprocess.Popen) is refused"),
        (
            {"strategy": spec("parts.Strategy", local_steps=spec("torch.os.system", command="touch ran"))},
            "strategy.params.local_steps.class",
            "is refused",
        ),
        ({"partition": "hostile.os.system"}, "partition", "is refused"),
        ({"network": {"nodes": 2, "topology": "hostile.nothing"}}, "network.topology", "it returns None"),
        ({"network": {"nodes": 2, "topology": "hostile.number"}}, "network.topology", "it returns int"),
        ({"grid": {"trainer": ["parts.Trainer", "os.abort"]}}, "grid.trainer[1]", "is refused"),
    ],
)
def test_it_is_an_error_of_the_configuration(changes: dict[str, Any], place: str, why: str, workplace: Path) -> None:
    (line,) = errors_of(experiment(**changes))
    assert line.startswith(f"<config>: {place}: ")
    assert why in line
    assert not (workplace / "ran").exists()


@pytest.mark.parametrize("path", ["parts.Ball", "networkx.Graph", "fractions.Fraction", "hostile.Path"])
def test_a_class_that_is_no_task_is_not_made(path: str) -> None:
    config = experiment(
        tasks=[{"task": path, "models": ["parts.model"], "optimizers": [spec("parts.optimizer", lr=1)]}]
    )
    assert "cannot be a task: it has no input_shape, num_classes, train" in errors_of(config)[0]


def test_arrays_without_objects() -> None:
    assert signature_problems(spec("numpy.load", file="w.npy")) == []
    ((at, why),) = signature_problems(spec("numpy.load", file="w.npy", allow_pickle=True))
    assert at == ("params", "allow_pickle")
    assert "a pickle can run anything" in why


class TestAllow:
    """`--allow PREFIX`: nothing else is imported, but for gossipsim's own parts."""

    CONFIG = experiment(
        tasks=[{"task": "parts.Task", "models": ["parts.model"], "optimizers": [spec("torch.optim.SGD", lr=0.1)]}]
    )

    @pytest.fixture(autouse=True)
    def _no_limit_afterwards(self) -> Any:
        yield
        allow_only(())

    def test_what_is_named(self) -> None:
        made = plan(self.CONFIG, allow=["parts", "torch.optim", "networkx"])
        assert made.allow == ("parts", "torch.optim", "networkx")
        assert locate("gossipsim.network.ring")

    def test_what_is_not_named(self) -> None:
        lines = errors_of(self.CONFIG, allow=["parts", "torch.opt"])
        assert [line.split(": ")[1] for line in lines] == ["network.topology", "tasks[0].optimizers[0].class"]
        assert lines[1].endswith("'torch.optim.SGD' is outside of what --allow names: parts, torch.opt")

    def test_it_is_not_imported(self, workplace: Path) -> None:
        (workplace / "canary.py").write_text("open('ran', 'w')\nclass Strategy: ...\n")
        assert len(errors_of(experiment(strategy="canary.Strategy"), allow=["parts", "networkx"])) == 1
        assert not (workplace / "ran").exists()

    def test_an_object_from_elsewhere(self, workplace: Path) -> None:
        (workplace / "again.py").write_text("from parts import Strategy\n")
        lines = errors_of(experiment(strategy="again.Strategy"), allow=["again"])
        assert "<config>: strategy: 'again.Strategy' (parts.Strategy) is outside of what --allow names: again" in lines

    def test_it_does_not_lift_what_is_refused(self) -> None:
        allow_only(["subprocess", "torch"])
        for path in ("subprocess.run", "torch.hub.load"):
            with pytest.raises(LocateError, match="is refused"):
                locate(path)

    def test_it_holds_when_parts_are_built_and_until_the_next_plan(self) -> None:
        plan(self.CONFIG, allow=["parts", "torch.optim", "networkx"])
        with pytest.raises(Exception, match="outside"):
            build("fractions.Fraction")
        plan(self.CONFIG)
        assert build("fractions.Fraction") == 0

    def test_a_bad_plan_ends_nothing_else(self) -> None:
        with pytest.raises(ConfigError):
            plan(self.CONFIG, allow=["nowhere"])
        assert plan(self.CONFIG).allow == ()
