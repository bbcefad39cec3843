"""A finished experiment is looked at on a machine without torch: every command that only reads files."""

import subprocess
import sys
from pathlib import Path

import fake_experiment
import pytest

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ImportError(f"{name} is not on this machine")
sys.meta_path.insert(0, Blocked())
from gossipsim.cli import app
for arguments in sys.argv[1:]:
    app(arguments.split("|"), standalone_mode=False)
assert not any(name.split(".")[0] == "torch" for name in sys.modules)
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workflow") / "exp_0001"
    cells = {"ring": {"network.topology": "networkx.cycle_graph"}}
    return fake_experiment.experiment(folder, models=("MLP",), cells=cells)


def test_results_are_read_without_torch(directory: Path, tmp_path: Path) -> None:
    commands = [
        f"report|{directory}",
        f"export|{directory}|-o|{tmp_path / 'out.parquet'}",
        f"export|{directory}|-o|{tmp_path / 'out.csv'}|--records|steps",
        f"table|{directory}|--format|latex",
        f"table|{directory}|--columns|topology",
        f"compare|{directory}|{directory}",
    ]
    command = [sys.executable, "-c", BLOCKED, *commands]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert r"\bottomrule" in outcome.stdout
    assert "same bits" in outcome.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"out.parquet", "out.csv"}
    assert (directory / "report.html").is_file()
    assert (directory / "tables" / "digits" / "MLP.tex").is_file()
    assert (directory / "results_mean.csv").is_file()
