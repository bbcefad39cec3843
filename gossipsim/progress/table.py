"""The picture of an experiment under way: a bar for each run and one for them all, as wide as the terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gossipsim.progress.text import STATUS_STYLES, clock, per_second, short_title

WIDE = 110
"""Columns from which bars are long and there is room for a metric."""

NARROW = 72
"""Columns below which there is no room for the bars of runs."""


@dataclass(frozen=True)
class Line:
    """A run under way. `speed` is in node-steps per second, `remaining` in seconds."""

    labels: Mapping[str, str]
    seed: int
    step: int | None = None
    total: int | None = None
    loss: float | None = None
    metric: str = ""
    speed: float | None = None
    remaining: float | None = None
    silent: float | None = None


@dataclass(frozen=True)
class Overall:
    """The experiment: how many of its runs have ended and how, and seconds gone and left."""

    total: int
    ended: int
    statuses: Mapping[str, int] = field(default_factory=dict)
    under_way: int = 0
    elapsed: float | None = None
    remaining: float | None = None

    def counts(self) -> list[tuple[str, str]]:
        """Texts such as `11 complete` with their styles."""
        named = [(f"{count} {status}", STATUS_STYLES.get(status, "")) for status, count in self.statuses.items()]
        return [*named, *([(f"{self.under_way} under way", "cyan")] if self.under_way else [])]


def draw(lines: Sequence[Line], overall: Overall, varying: Collection[str]) -> RenderableType:
    """As many runs as fit the terminal's height, then the line of the experiment."""
    return _Picture(lines, overall, varying)


@dataclass(frozen=True)
class _Picture:
    lines: Sequence[Line]
    overall: Overall
    varying: Collection[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        most = max(1, console.height - 5) if console.is_terminal else len(self.lines)
        parts: list[RenderableType] = []
        if self.lines:
            parts.append(_runs(self.lines[:most], self.varying, width))
        if len(self.lines) > most:
            parts.append(Text(f"and {len(self.lines) - most} more under way", style="dim"))
        yield Group(*parts, _experiment(self.overall, width))


def _runs(lines: Sequence[Line], varying: Collection[str], width: int) -> Table:
    bar, metrics = (24, True) if width >= WIDE else (10 if width >= NARROW else 0, False)
    steps = [_steps(line) for line in lines]
    figures = [_figures(line, metrics) for line in lines]
    names = ["loss", *(["latest"] if metrics else []), "node-steps/s", "ETA"]
    widths = [max(8, *map(len, column)) for column in zip(names, *figures, strict=True)]
    step_width = max(8, *map(len, steps))
    title = max(12, width - sum(widths) - bar - step_width - len(widths) - 2)
    table = Table.grid(padding=(0, 1, 0, 0), collapse_padding=True)
    table.add_column(width=title, no_wrap=True)
    if bar:
        table.add_column(width=bar)
    for size in (step_width, *widths):
        table.add_column(justify="right", width=size, no_wrap=True)
    table.add_row(*[Text(name, style="dim") for name in (*[""] * (2 if bar else 1), "step", *names)])
    for line, step, values in zip(lines, steps, figures, strict=True):
        known = line.step is not None and line.total
        progress = ProgressBar(total=line.total or 1, completed=line.step or 0, width=bar) if known else ""
        name = Text(short_title(line.labels, line.seed, varying, title))
        table.add_row(name, *([progress] if bar else []), step, *[Text(value) for value in values])
    return table


def _steps(line: Line) -> str:
    if line.step is None:
        return "starting"
    return f"{line.step}/{line.total}" if line.total else str(line.step)


def _figures(line: Line, metrics: bool) -> list[str]:
    loss = "-" if line.loss is None else f"{line.loss:.4g}"
    last = clock(line.remaining) if line.silent is None else f"silent {clock(line.silent)}"
    return [loss, *([line.metric] if metrics else []), per_second(line.speed), last]


def _experiment(overall: Overall, width: int) -> Table:
    counts = Text()
    for text, style in overall.counts():
        counts.append(", " if counts else "").append(text, style=style)
    times = []
    if overall.elapsed is not None:
        times.append(f"elapsed {clock(overall.elapsed)}")
    if overall.ended < overall.total:
        times.append(f"ETA {clock(overall.remaining)}")
    table = Table.grid(padding=(0, 1, 0, 0), collapse_padding=True, expand=True)
    table.add_column(no_wrap=True)
    table.add_column(width=24 if width >= WIDE else 10)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    bar = ProgressBar(total=max(1, overall.total), completed=overall.ended, width=24 if width >= WIDE else 10)
    runs = Text(f"{overall.ended}/{overall.total} runs", style="bold")
    table.add_row(runs, bar, counts, "  ".join(times))
    return table
