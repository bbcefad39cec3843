"""What the cells of an experiment are made of: topology, and the other swept values, each in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from gossipsim.config.names import cell_label, display, short_paths
from gossipsim.config.sweep import is_spec_path
from gossipsim.results import Results, Run

TOPOLOGY = "network.topology"
_LABELLED = ("task", "model", "optimizer")  # have labels of their own
_OTHER_NAMES = {  # of networkx, and of classes
    "cycle_graph": "ring",
    "complete_graph": "complete",
    "star_graph": "star",
    "path_graph": "path",
    "hypercube_graph": "hypercube",
    "grid_2d_graph": "grid",
    "random_regular_graph": "random_regular",
    "erdos_renyi_graph": "erdos_renyi",
    "OnePeerExponential": "one_peer_exponential",
}


@dataclass(frozen=True)
class Parts:
    """``topologies``: of each cell; ``swept``: of each cell its values by path, topologies left out.

    ``families``: the last part of the class path by the name of an optimizer or topology; ``groups``: the name of the
    tuned optimizer by that of a candidate.
    """

    topologies: dict[str, str]
    swept: dict[str, dict[str, Any]]
    families: dict[str, str]
    groups: dict[str, str]

    @classmethod
    def of(cls, results: Results) -> Parts:
        topologies: dict[str, str] = {}
        swept: dict[str, dict[str, Any]] = {}
        families: dict[str, str] = {}
        groups: dict[str, str] = {}
        for run in results.runs:
            cell = run.labels["cell"]
            swept.setdefault(cell, {path: value for path, value in run.swept.items() if _is_rest(path)})
            topology, spec = _topology(run), run.spec.get("optimizer")
            if topology and not topologies.get(cell):
                topologies[cell] = display(topology)
                families.setdefault(display(topology), _family(topology))
            optimizer = run.labels["optimizer"]
            if run.tuned:
                groups[optimizer] = run.tuned["optimizer"]
            if spec:
                families.setdefault(groups.get(optimizer, optimizer), _family(spec))
        return cls(topologies, swept, families, groups)

    def paths(self) -> list[str]:
        """The swept paths that have several values, in order."""
        values: dict[str, dict[str, None]] = {}
        for cell in self.swept.values():
            for path, value in cell.items():
                values.setdefault(path, {})[_words(path, value)] = None
        return [path for path, different in values.items() if len(different) > 1]

    def rest(self, without: Collection[str]) -> dict[str, str]:
        """Of each cell the values at all paths but these, in words; the whole label where that is not enough."""
        paths = [path for path in self.paths() if path not in without]
        words = {cell: _label(paths, values) for cell, values in self.swept.items()}
        if without or len({(self.topologies.get(cell), label) for cell, label in words.items()}) == len(words):
            return words
        return {cell: cell for cell in words}

    def value(self, cell: str, path: str) -> str:
        """``alpha=0.1``: the value of a cell at one path, in words."""
        return _label([path], self.swept[cell])


def _is_rest(path: str) -> bool:
    return path not in (TOPOLOGY, *_LABELLED) and not path.startswith(f"{TOPOLOGY}.")


def _topology(run: Run) -> Any:
    """Its spec: the swept one, which has the name that a person gave it, else what was run."""
    network = run.swept.get("network")
    for found in (run.swept.get(TOPOLOGY), network.get("topology") if isinstance(network, Mapping) else None):
        if found:
            return found
    return run.spec.get("network", {}).get("topology")


def _family(spec: Any) -> str:
    name = str(spec if isinstance(spec, str) else spec.get("class", "")).rpartition(".")[2]
    return _OTHER_NAMES.get(name, name)


def _words(path: str, value: Any) -> str:
    return cell_label([path], [value], [is_spec_path(path)])


def _label(paths: list[str], values: Mapping[str, Any]) -> str:
    held = [path for path in paths if path in values]
    if not held:
        return ""
    return cell_label(short_paths(held), [values[path] for path in held], [is_spec_path(path) for path in held])
