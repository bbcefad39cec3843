"""`gossipsim topology`."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossipsim.commands.refusal import refuse

if TYPE_CHECKING:
    from gossipsim.network import Network

_DENSE = 512  # nodes, at most, of which all measures of speed are shown: seconds
_ACCURACY, _DECAY = 1e-3, 0.99


def topology(
    name: Annotated[str, typer.Argument(help="ring, star, torus, karate, ... or a class path.")],
    n: Annotated[int | None, typer.Option("-n", min=1, help="Number of nodes.", show_default=False)] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Class path of the weights.", show_default="Metropolis-Hastings, or the topology's own"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw it: a .png, .pdf or .svg file.", show_default=False, metavar="FILE")
    ] = None,
) -> None:
    """Certify a graph and its mixing matrix: gossipsim topology ring -n 16 --plot ring.png"""
    from gossipsim.spec import BuildError, LocateError, in_one_line

    try:
        certificate = _certificate(name, n, weights, plot)
    except (BuildError, LocateError, ValueError) as error:
        refuse(in_one_line(error))
    if as_json:
        typer.echo(json.dumps(certificate, indent=2))
        return
    width = max(map(len, certificate))
    for key, value in certificate.items():
        typer.echo(f"{key:<{width}}  {value:.10g}" if isinstance(value, float) else f"{key:<{width}}  {value}")
    if plot is not None:
        typer.echo(f"{'plot':<{width}}  {plot}")


def _certificate(name: str, n: int | None, weights: str | None, plot: Path | None) -> dict[str, Any]:
    """Builds the graph, with 16 nodes where it has a size and none was asked for, certifies it and draws it."""
    from gossipsim.network import NAMES, Network, resolve
    from gossipsim.spec import build, build_callable, locate

    if plot is not None:
        from gossipsim.report.topology import MOST_ROUNDS, UNENDING_ROUNDS, check_format, draw_topology

        check_format(plot)
    path = f"gossipsim.network.{NAMES[name].__name__}" if name in NAMES else name
    if "." not in path:
        resolve(name)
    sized = bool({"n", "nodes", "num_nodes", "n_nodes"} & set(inspect.signature(locate(path)).parameters))
    if n is not None and not sized:
        raise ValueError(f"{name} has a size of its own; leave out -n")
    size = n or 16
    topology = build(path, n=size, nodes=size, num_nodes=size, n_nodes=size, seed=0)
    own = "gossipsim.network.Own" if callable(getattr(topology, "matrix", None)) else None
    weights = weights or own or "gossipsim.network.MetropolisHastings"
    network = Network(size if sized else len(topology), topology, build_callable(weights), name=name)
    certificate = network.certificate() | _speed(network)
    if plot is not None:
        shown = UNENDING_ROUNDS if network.period is None else min(network.period, MOST_ROUNDS)
        draw_topology(plot, [network.graph(t) for t in range(shown)], certificate)
    return certificate


def _speed(network: Network) -> dict[str, Any]:
    """What else is known of a network that keeps the mean and repeats, up to some hundred nodes."""
    from gossipsim.network import effective_neighbours, exact_after, mixing_time

    if network.period is None or network.nodes > _DENSE or not network.certificate()["doubly_stochastic"]:
        return {}
    rounds = [network.matrix(t) for t in range(network.period)]
    found: dict[str, Any] = {"exact_after": exact_after(rounds)}
    found |= {"accuracy": _ACCURACY, "mixing_time": mixing_time(rounds, _ACCURACY)}
    if network.period == 1:
        found |= {"decay": _DECAY, "effective_neighbours": effective_neighbours(rounds[0], _DECAY)}
    return found
