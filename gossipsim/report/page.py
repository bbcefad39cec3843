"""report.html: what a reader sees of an experiment, in one file that loads nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gossipsim.report import metrics as names
from gossipsim.report import sections, svg
from gossipsim.report.headline import Headline, headline
from gossipsim.report.interactive import MOST_NUMBERS, Explorer, explorer
from gossipsim.report.interactive_player import player
from gossipsim.report.interactive_script import scripts
from gossipsim.report.partition import placements
from gossipsim.report.plot import Plot
from gossipsim.report.provenance import Provenance, plural, states
from gossipsim.report.ranking import Table, table
from gossipsim.report.style import Styles
from gossipsim.results import Results, Summary, read_json

# These keep the page below 8 MB, whatever the experiment; what is beyond them is linked, or in the CSV files.
MOST_EMBEDDED = 2_400_000  # bytes of images
MOST_RUNS = 1000
MOST_CONFIGURATION = 200_000


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it; ``data`` is None where only a link fits."""

    title: str
    path: str
    data: str | None


@dataclass(frozen=True)
class Section:
    """One task and model: what came out, its curves, its table, and its figures."""

    anchor: str
    title: str
    headline: Headline
    explorer: Explorer | None
    table: Table
    costs: sections.Costs | None
    pictures: list[Picture]


@dataclass(frozen=True)
class Shards:
    """How the samples of a task lie on the nodes."""

    title: str
    split: str
    facts: dict[str, str]
    heat: sections.HeatMap | None
    picture: Picture | None


def render(results: Results, plots: Sequence[Plot], provenance: Provenance) -> str:
    """The text of report.html."""
    pictures = _pictures(results.directory, plots)
    parts = _sections(results, plots, pictures)
    film = player(results)
    return (
        _templates()
        .get_template("report.html")
        .render(
            results=results,
            provenance=provenance,
            description=_description(results.directory),
            states=states(results),
            tiles=sections.tiles(results),
            sections=parts,
            player=film,
            selections=results.selections,
            budget=sections.budget(results.selections),
            networks=sections.networks(results.runs),
            network_pictures=[pictures[plot.png] for plot in plots if plot.section == "network"],
            shards=_shards(results, pictures),
            failures=sections.failures(results.runs),
            warnings=sections.warnings(results.runs),
            environment=sections.flat(provenance.environment),
            config=_configuration(results.directory),
            runs=results.runs[:MOST_RUNS],
            primary=names.primary(results.metrics),
            scripts=scripts(with_plotly=film is not None or any(part.explorer for part in parts)),
        )
    )


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": names.number,
        "plural": plural,
        "label": names.label,
        "ink": svg.ink,
        "spread": _spread,
    }
    return environment


def _spread(summary: Summary | None, metric: str | None) -> str:
    return names.with_spread(summary.mean, summary.std, metric or "") if summary else ""


def _pictures(directory: Path, plots: Sequence[Plot]) -> dict[Path, Picture]:
    """Every figure by its file; embedded as long as there is room, those against what a run costs last."""
    room, pictures = MOST_EMBEDDED, {}
    for plot in sorted(plots, key=lambda plot: plot.x in names.AXES):
        room -= plot.png.stat().st_size
        data = "data:image/png;base64," + base64.b64encode(plot.png.read_bytes()).decode() if room >= 0 else None
        pictures[plot.png] = Picture(plot.title, plot.png.relative_to(directory).as_posix(), data)
    return pictures


def _sections(results: Results, plots: Sequence[Plot], pictures: Mapping[Path, Picture]) -> list[Section]:
    styles = Styles.of(results)
    groups = dict.fromkeys((cell.labels["task"], cell.labels["model"]) for cell in results.selected_cells)
    found = []
    for number, (task, model) in enumerate(groups):
        cells = [
            cell for cell in results.selected_cells if (cell.labels["task"], cell.labels["model"]) == (task, model)
        ]
        ranked = table(cells, styles)
        found.append(
            Section(
                anchor=f"section-{number}",
                title=f"{task} · {model}",
                headline=headline(cells, ranked),
                explorer=explorer(cells, styles, results.swept, room=MOST_NUMBERS // len(groups)),
                table=ranked,
                costs=sections.costs(cells, results.targets),
                pictures=[pictures[plot.png] for plot in plots if (plot.task, plot.model) == (task, model)],
            )
        )
    return found


def _shards(results: Results, pictures: Mapping[Path, Picture]) -> list[Shards]:
    """One entry per distinct partition."""
    return [
        Shards(
            sections.shards_title(placement, results),
            ", ".join(f"{key} {value}" for key, value in placement.split.items()),
            placement.facts(),
            sections.heat_map(placement),
            pictures.get(placement.png),
        )
        for placement in placements(results)
    ]


def _description(directory: Path) -> str:
    document = read_json(directory / "config.json") if (directory / "config.json").is_file() else {}
    return str(document.get("description") or "")


def _configuration(directory: Path) -> str | None:
    path = directory / "config.json"
    if not path.is_file():
        return None
    text = json.dumps(read_json(path), indent=2, ensure_ascii=False)
    return text if len(text) <= MOST_CONFIGURATION else f"{text[:MOST_CONFIGURATION]}\n... (all of it in config.json)"
