"""The networks of an experiment as pictures, each node in the colour of how far it is from the others.

The colour is the distance of a node's parameters to the mean at the end of a run, where runs recorded it; else how far
the classes of its samples are from those of all (total variation); else its number of neighbours. One figure per
distinct network, ``plots/topology_<name>``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from gossipsim.report.plot import Plot, save
from gossipsim.report.provenance import Provenance
from gossipsim.report.style import Styles
from gossipsim.report.topology import NodeColours, graph_of, picture
from gossipsim.results import Results, Run, is_finite, safe_name, unique_names

MOST_NETWORKS = 12
MOST_NODES = 300
MOST_READ = 8  # runs whose nodes.jsonl is looked into


def draw_networks(results: Results, styles: Styles, provenance: Provenance) -> Iterator[Plot]:
    """A figure for each distinct network, as far as it can be seen."""
    for name, runs in networks(results, styles).items():
        run = runs[0]
        graph = graph_of(int(run.summary["network"]["nodes"]), run.summary["graph"])
        figure = picture(graph, run.summary["network"], node_colours(runs), name=name)
        png = results.directory / "plots" / f"topology_{safe_name(name)}.png"
        plot = Plot("", "", "network", f"topology {name}", "", png)
        save(figure, plot, provenance)
        yield plot


def networks(results: Results, styles: Styles) -> dict[str, list[Run]]:
    """The complete runs of each distinct network by the latter's name, with its size where others share it."""
    found: dict[str, list[Run]] = {}
    for run in results.runs:
        certificate, graph = run.summary.get("network"), run.summary.get("graph")
        if run.status == "complete" and certificate and graph and 2 <= certificate["nodes"] <= MOST_NODES:
            found.setdefault(json.dumps([graph, certificate]), []).append(run)
    chosen = list(found.values())[:MOST_NETWORKS]
    short = [_name(runs[0], styles) for runs in chosen]
    sized = [
        f"{name}, n={runs[0].summary['nodes']}" if short.count(name) > 1 else name
        for name, runs in zip(short, chosen, strict=True)
    ]
    names = [name if safe == safe_name(name) else safe for name, safe in zip(sized, unique_names(sized), strict=True)]
    return dict(zip(names, chosen, strict=True))


def _name(run: Run, styles: Styles) -> str:
    return styles.topology(run.labels["cell"]) or str(run.summary["network"]["name"]).rpartition(".")[2]


def node_colours(runs: Sequence[Run]) -> NodeColours:
    """What the nodes of a network are coloured by, from the first of its runs that has it.

    Classes are those of the run whose nodes differ most, the others show little.
    """
    nodes = int(runs[0].summary["network"]["nodes"])
    for run in runs[:MOST_READ]:
        frames = run.frames()
        distances = frames[-1].get("distance", []) if frames else []
        if len(distances) == nodes and all(map(is_finite, distances)) and max(distances) > 0:
            of = f"{run.labels['optimizer']}, seed {run.seed}"
            return NodeColours(f"distance to the mean after step {frames[-1]['step']}", distances, of)
    apart = [run for run in runs if len(run.summary.get("total_variation") or ()) == nodes]
    if apart:
        run = max(apart, key=lambda run: max(run.summary["total_variation"]))
        return NodeColours("total variation of classes", run.summary["total_variation"], f"seed {run.seed}")
    degrees = [0.0] * nodes
    for u, v in runs[0].summary["graph"]["edges"]:
        degrees[u] += 1
        degrees[v] += 1
    return NodeColours("degree", degrees, "")
