r"""Tables for a paper: LaTeX (booktabs), Markdown and CSV.

LaTeX needs ``\usepackage{booktabs}``; the file is a ``tabular`` to ``\input`` where you like. Names are escaped: Greek
letters become mathematics, and what pdflatex cannot set becomes a question mark.
"""

from __future__ import annotations

import math
import re
import statistics
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gossipsim.report.grids import Grid, Line, Number, listing
from gossipsim.report.ranking import MARKED
from gossipsim.results import Results, Summary, higher_is_better, write_text
from gossipsim.results.tables import as_csv
from gossipsim.spec import as_markdown

Spread = Literal["std", "ci95"]

SPREADS = {"std": "standard deviation", "ci95": "half the 95% confidence interval (Student's t)"}
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
_LATEX |= {character: f"\\{character}" for character in "&%$#_{}"} | {"<": "$<$", ">": "$>$", '"': "''"}
_SYMBOLS = {"±": r"\pm", "×": r"\times", "≤": r"\leq", "≥": r"\geq", "∞": r"\infty", "→": r"\to", "·": r"\cdot"}
_MOST_DECIMALS = 6


def write(results: Results) -> list[Path]:
    """Writes ``tables/<task>/<model>.tex`` and ``.md``: main metrics of the cells that stand for their optimizers."""
    written = []
    groups: dict[Path, list[int]] = {}
    for number, cell in enumerate(results.selected_cells):
        _, task, model, *_ = cell.runs[0].directory.relative_to(results.directory).parts
        groups.setdefault(results.directory / "tables" / task / model, []).append(number)
    for path, numbers in groups.items():
        grid = listing([results.selected_cells[number] for number in numbers])
        origin = f"{results.name}, experiment key {results.key[:12]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix, text in ((".tex", latex(grid, origin=origin)), (".md", markdown(grid))):
            written.append(path.with_name(path.name + suffix))  # with_suffix would take part of a name with a dot
            write_text(written[-1], text)
    return written


def latex(grid: Grid, *, spread: Spread = "std", origin: str = "") -> str:
    """A booktabs ``tabular``; best in bold, ties underlined."""
    note = grid.note(best="bold", tie="underlined", spread=SPREADS[spread])
    heads = [*map(escape, grid.heads), *(f"{escape(title)}{_arrow(m, latex=True)}" for title, m in _titles(grid))]
    lines = [f"% {' '.join(text.split())}" for text in (origin, note, r"Needs \usepackage{booktabs}.") if text]
    lines += [rf"\begin{{tabular}}{{{'l' * len(grid.heads)}{'r' * len(grid.columns)}}}", r"\toprule"]
    if _one_metric(grid):
        title = f"{escape(grid.metrics[0].replace('_', ' '))}{_arrow(grid.metrics[0], latex=True)}"
        lines.append(f"{'& ' * len(grid.heads)}\\multicolumn{{{len(grid.columns)}}}{{c}}{{{title}}} \\\\")
        lines.append(rf"\cmidrule(l){{{len(grid.heads) + 1}-{len(grid.heads) + len(grid.columns)}}}")
    lines += [" & ".join(heads) + r" \\", r"\midrule"]
    previous: Line | None = None
    for line, texts in zip(grid.lines, _texts(grid, spread), strict=True):
        if previous is not None and line.block != previous.block:
            lines.append(r"\midrule")
        entries = [_latex_entry(text, number) for text, number in zip(texts, line.numbers, strict=True)]
        lines.append(" & ".join([*map(escape, line.labels), *entries]) + r" \\")
        previous = line
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def markdown(grid: Grid, *, spread: Spread = "std") -> str:
    """A pipe table and its note; best in bold, ties underlined."""
    heads = [*grid.heads, *(f"{title}{_arrow(metric)}" for title, metric in _titles(grid))]
    rows = [heads, ["---"] * len(grid.heads) + ["--:"] * len(grid.columns)]
    rows[0] = [as_markdown(head) for head in heads]
    for line, texts in zip(grid.lines, _texts(grid, spread), strict=True):
        entries = [_markdown_entry(text, number) for text, number in zip(texts, line.numbers, strict=True)]
        rows.append([*map(as_markdown, line.labels), *entries])
    title = f"{grid.metrics[0].replace('_', ' ')}{_arrow(grid.metrics[0])}" if _one_metric(grid) else ""
    note = grid.note(best="**bold**", tie="<u>underlined</u>", spread=SPREADS[spread])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join(filter(None, (title, table, note))) + "\n"


def comma_separated(grid: Grid) -> str:
    """A line per line of the table: labels, then mean, std, ci95, n and mark of each column, unrounded."""
    found = []
    for line in grid.lines:
        row: dict[str, float | str] = dict(zip(grid.heads, line.labels, strict=True))
        for title, number in zip(_csv_titles(grid), line.numbers, strict=True):
            if number is None:
                continue
            summary = number.summary
            values = {"mean": summary.mean, "std": summary.std, "ci95": summary.ci95, "n": summary.n}
            row |= {f"{title}_{name}": value for name, value in values.items() if value is not None}
            row[f"{title}_mark"] = number.mark
        found.append(row)
    statistic = ("mean", "std", "ci95", "n", "mark")
    return as_csv([*grid.heads, *(f"{title}_{name}" for title in _csv_titles(grid) for name in statistic)], found)


def escape(text: str) -> str:
    r"""Text that LaTeX sets as it is.

    >>> escape("Dirichlet(α=0.1), 50% of x_1")
    'Dirichlet($\\alpha$=0.1), 50\\% of x\\_1'
    """
    return "".join(map(_escaped, " ".join(text.split())))


def _escaped(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character in _SYMBOLS:
        return f"${_SYMBOLS[character]}$"
    if " " <= character < "\u017f" and character.isprintable():
        return character
    if greek := re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", unicodedata.name(character, "")):
        name = {"LAMDA": "lambda", "OMICRON": "o"}.get(greek[2], greek[2].lower())
        return f"${_greek(name, capital=greek[1] == 'CAPITAL')}$"
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(_LATEX.get(letter, letter) for letter in plain) or "?"


def _greek(name: str, *, capital: bool) -> str:
    r"""A letter as mathematics; capitals that look like Latin ones have no command.

    >>> _greek("gamma", capital=True), _greek("beta", capital=True), _greek("final", capital=False)
    ('\\Gamma', '\\mathrm{B}', '?')
    """
    latin = {"alpha": "A", "beta": "B", "epsilon": "E", "zeta": "Z", "eta": "H", "iota": "I", "kappa": "K", "mu": "M"}
    latin |= {"nu": "N", "o": "O", "rho": "P", "tau": "T", "chi": "X"}
    own = {"gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "upsilon", "phi", "psi", "omega"}
    if name == "o" and not capital:
        return "o"
    if name not in latin and name not in own:
        return "?"
    if capital:
        return f"\\mathrm{{{latin[name]}}}" if name in latin else f"\\{name.capitalize()}"
    return f"\\{name}"


@dataclass(frozen=True)
class _Text:
    """A number in parts: ``(mean ± spread) x 10^exponent``."""

    mean: str
    spread: str = ""
    exponent: int | None = None

    def plain(self) -> str:
        inner = f"{self.mean} ± {self.spread}" if self.spread else self.mean
        if self.exponent is None:
            return inner
        return f"({inner})e{self.exponent:+03d}" if self.spread else f"{inner}e{self.exponent:+03d}"

    def mathematics(self) -> str:
        inner = rf"{self.mean} \pm {self.spread}" if self.spread else self.mean
        if self.exponent is None:
            return inner
        return rf"{f'({inner})' if self.spread else inner} \times 10^{{{self.exponent}}}"


def _texts(grid: Grid, spread: Spread) -> list[list[_Text | None]]:
    """The entries of each line; a metric has the same number of decimals in all of its columns."""
    forms = {}
    for metric in grid.metrics:
        numbers = [n for line in grid.lines for n, m in zip(line.numbers, grid.metrics, strict=True) if m == metric]
        forms[metric] = _form([number.summary for number in numbers if number is not None], spread)
    return [
        [
            None if number is None else forms[metric](number.summary)
            for number, metric in zip(line.numbers, grid.metrics, strict=True)
        ]
        for line in grid.lines
    ]


def _form(summaries: Sequence[Summary], spread: Spread) -> Callable[[Summary], _Text]:
    """How the numbers of a column are written: two digits of the typical spread, or powers of ten where they need them.

    Without a spread there are four digits.
    """
    finite = [abs(each.mean) for each in summaries if math.isfinite(each.mean) and each.mean != 0]
    spreads = [value for each in summaries if (value := _spread_of(each, spread)) and math.isfinite(value)]
    if finite and (not 1e-2 <= statistics.median(finite) < 1e5 or max(finite) > 1e4 * min(finite)):
        return lambda summary: _scientific(summary, spread)
    scale = statistics.median(spreads) if spreads else (statistics.median(finite) if finite else 1.0) / 100
    decimals = min(max(1 - math.floor(math.log10(scale)), 0), _MOST_DECIMALS)

    def fixed(summary: Summary) -> _Text:
        width = _spread_of(summary, spread)
        return _Text(_decimals(summary.mean, decimals), "" if width is None else _decimals(width, decimals))

    return fixed


def _decimals(value: float, decimals: int) -> str:
    if math.isfinite(value):
        return f"{value:.{decimals}f}"
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _scientific(summary: Summary, spread: Spread) -> _Text:
    width = _spread_of(summary, spread)
    if not math.isfinite(summary.mean) or summary.mean == 0:
        return _Text(_decimals(summary.mean, 0), "" if not width else f"{width:.1e}")
    exponent = int(f"{summary.mean:.3e}".partition("e")[2])
    digits = 10.0**exponent
    return _Text(f"{summary.mean / digits:.2f}", "" if width is None else f"{width / digits:.2f}", exponent)


def _spread_of(summary: Summary, spread: Spread) -> float | None:
    return summary.std if spread == "std" else summary.ci95


def _latex_entry(text: _Text | None, number: Number | None) -> str:
    if text is None or number is None:
        return "--"
    inner = text.mathematics().replace("nan", r"\mathrm{nan}").replace("inf", r"\infty")
    inner = {"best": rf"\mathbf{{{inner}}}", "tie": rf"\underline{{{inner}}}"}.get(number.mark, inner)
    return f"${inner}$" + (f" ({number.seeds})" if number.seeds else "")


def _markdown_entry(text: _Text | None, number: Number | None) -> str:
    if text is None or number is None:
        return "–"
    inner = {"best": f"**{text.plain()}**", "tie": f"<u>{text.plain()}</u>"}.get(number.mark, text.plain())
    return inner + (f" ({number.seeds})" if number.seeds else "")


def _one_metric(grid: Grid) -> bool:
    """Whether the columns are values of an axis, all of one metric."""
    return len(set(grid.metrics)) == 1 and "n" not in grid.heads


def _titles(grid: Grid) -> list[tuple[str, str]]:
    """Column titles with the metric whose arrow they need."""
    metrics = [""] * len(grid.columns) if _one_metric(grid) else grid.metrics
    return list(zip(grid.columns, metrics, strict=True))


def _csv_titles(grid: Grid) -> list[str]:
    return [f"{grid.metrics[0]}[{title}]" for title in grid.columns] if _one_metric(grid) else grid.metrics


def _arrow(metric: str, *, latex: bool = False) -> str:
    """Where better is, for metrics that are judged."""
    if metric not in MARKED:
        return ""
    if latex:
        return rf" $\{'uparrow' if higher_is_better(metric) else 'downarrow'}$"
    return " ↑" if higher_is_better(metric) else " ↓"
