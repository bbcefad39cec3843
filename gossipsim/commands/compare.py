"""`gossipsim compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gossipsim.commands.refusal import refuse
from gossipsim.program import FAILED
from gossipsim.runner import terminal

if TYPE_CHECKING:
    from gossipsim.results import Results
    from gossipsim.results.compared import Compared, Pair


def compare(
    a: Annotated[Path, typer.Argument(help="An experiment or a workflow, then its newest: the reference.")],
    b: Annotated[Path, typer.Argument(help="What is compared with it.")],
    metric: Annotated[str | None, typer.Option(help="Default: the first of test_accuracy, ... in both.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    fail_on_regression: Annotated[
        bool, typer.Option("--fail-on-regression", help="Exit code 1 where a cell is worse in B.")
    ] = False,
    tolerance: Annotated[float, typer.Option(min=0, help="What a cell may be worse by.")] = 0.0,
) -> None:
    """Compare two experiments cell by cell: gossipsim compare workflow/main/exp_0001 workflow/branch/exp_0001

    Per cell: the difference B - A of the metric's last value with its 95% confidence interval and p-value (paired by
    seed), and whether final parameters are the same bits; then what differs in configuration and versions. Worse is a
    cell whose whole interval is beyond the tolerance on the wrong side, or that lost complete seeds.
    """
    from gossipsim.results import load
    from gossipsim.results.compared import compare_experiments

    try:
        first, second = load(a), load(b)
        compared = compare_experiments(first, second, _metric(first, second, metric))
    except (FileNotFoundError, ValueError) as error:
        refuse(str(error))
    if not compared.pairs:
        refuse(f"{a} and {b} have no cell in common (same task, model, optimizer and swept values)")
    if json_:
        typer.echo(json.dumps(compared.as_json(tolerance), indent=2))
    else:
        _tell(compared, tolerance)
    worse = sum(pair.worse(compared.metric, tolerance) for pair in compared.pairs)
    raise typer.Exit(FAILED if fail_on_regression and worse else 0)


def _metric(a: Results, b: Results, metric: str | None) -> str:
    """The metric that is compared.

    Raises:
        ValueError: naming those there are.
    """
    from gossipsim.report.metrics import primary

    both = [name for name in a.metrics if name in b.metrics]
    found = metric or primary(both)
    if found is None or found not in both:
        raise ValueError(f"--metric {metric}: not recorded in both experiments; {', '.join(both) or 'nothing'} is")
    return found


def _tell(compared: Compared, tolerance: float) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = terminal()
    table = Table("cell", "A", "B", "B - A", "95% interval", "p", "same bits", "")
    for pair in compared.pairs:
        table.add_row(*map(escape, _row(pair, compared.metric, tolerance)))
    console.print(f"{compared.metric}, last value, mean over complete seeds", markup=False, highlight=False)
    console.print(table)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    for name, labels in (("A", compared.only_a), ("B", compared.only_b)):
        for each in labels:
            say(f"only in {name}: {' · '.join(each)}")
    for kind, differences in (("configuration", compared.configuration), ("environment", compared.environment)):
        for path, (in_a, in_b) in differences.items():
            say(f"{kind}: {path}: {json.dumps(in_a)} -> {json.dumps(in_b)}")
    worse = sum(pair.worse(compared.metric, tolerance) for pair in compared.pairs)
    same = sum(pair.same_bits == pair.shared > 0 for pair in compared.pairs)
    say(f"{len(compared.pairs)} cells in both: {same} with the same bits, {worse} worse in B")


def _row(pair: Pair, metric: str, tolerance: float) -> list[str]:
    from gossipsim.report.metrics import number, with_spread

    change, labels = pair.change, " · ".join(pair.labels)
    means = [with_spread(each.mean, each.std, metric) if each else "" for each in (pair.a, pair.b)]
    interval = p = ""
    if change is not None and change.low is not None and change.high is not None and change.p is not None:
        interval, p = f"[{change.low:+.3g}, {change.high:+.3g}]", f"{change.p:.2g}"
    elif change is not None:
        interval = "one seed: none"
    lost = f", {len(pair.lost)} seeds lost" if pair.lost else ""
    verdict = f"worse{lost}" if pair.worse(metric, tolerance) else ""
    difference = "" if change is None else f"{'+' if change.difference > 0 else ''}{number(change.difference)}"
    return [labels, *means, difference, interval, p, f"{pair.same_bits}/{pair.shared}", verdict]
