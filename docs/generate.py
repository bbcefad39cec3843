"""A mkdocs hook: writes the reference pages at build, from the pydantic models, the commands and the docstrings."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

Schema = dict[str, Any]

KINDS = {
    "strategy": "Strategies",
    "optimizer": "Optimizers",
    "constraint": "Feasible sets",
    "step_size": "Step sizes of Frank-Wolfe",
    "topology": "Topologies",
    "weights": "Mixing weights",
    "partition": "Partitions",
    "task": "Tasks",
    "model": "Models",
    "compression": "Compressors",
    "links": "Links",
    "duration": "Durations",
    "trainer": "Trainer",
}
"""Kinds of parts that the reference lists, with the headings."""


def on_files(files: Any, config: Any) -> Any:
    """Called by mkdocs: adds the pages."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        if existing := files.get_file_from_path(path):
            files.remove(existing)
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> dict[str, str]:
    """Path -> Markdown of every generated page."""
    return {
        "algorithms.md": algorithms(),
        "reference/configuration.md": configuration(),
        "reference/commands.md": commands(),
        "reference/parts.md": parts(),
        "security.md": (ROOT / "SECURITY.md").read_text(),
    }


def markdown(text: str) -> str:
    """A docstring as Markdown: indented formulas are code already, roles become code, "Source:" stands out."""
    from gossipsim.schema.params import plain

    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    text = re.split(r"^(?:Args|Raises|Returns|Attributes|Notes|Example|Examples):$", plain(text), flags=re.MULTILINE)[0]
    text = re.sub(r"\n>>> .*", "", text, flags=re.DOTALL)
    text = re.sub(r"^(Sources?): ", r"**\1.** ", text, flags=re.MULTILINE)
    lines = []
    for line in text.strip().splitlines():
        formula = line.startswith("    ") or line.lstrip().startswith("|")
        lines.append(line if formula else _escaped(line))
    return "\n".join(lines)


def _escaped(line: str) -> str:
    """Prose with formulas in it: `_`, `*`, `<` and `[` outside code are themselves."""
    pieces = re.split(r"(`[^`]*`)", line)
    return "".join(piece if piece.startswith("`") else _plain_characters(piece) for piece in pieces)


def _plain_characters(text: str) -> str:
    return re.sub(r"(?<!\*)([_*\[])(?!\*)", r"\\\1", text.replace("<", "&lt;"))


# Algorithms


def algorithms() -> str:
    """The introduction of docs/algorithms.head.md, then a section per strategy, from its module."""
    from gossipsim.catalogue import shipped

    head = (ROOT / "docs" / "algorithms.head.md").read_text()
    sections = [head]
    for part in (part for part in shipped("strategy") if part.ours):
        sections.append(f"## {part.name}\n\n{markdown(part.module_text)}\n\n{_claims(part)}")
    for title, modules in _MORE.items():
        sections.append(f"## {title}")
        for heading, module in modules.items():
            sections.append(f"### {heading}\n\n{markdown(_module_text(module))}")
    return "\n\n".join(sections) + "\n"


_MORE = {
    "Frank-Wolfe, Muon, Scion": {
        "Frank-Wolfe": "gossipsim.optim.frank_wolfe",
        "Stochastic Frank-Wolfe": "gossipsim.optim.stochastic_frank_wolfe",
        "AdaGrad with Frank-Wolfe steps": "gossipsim.optim.adagrad_frank_wolfe",
        "Projected SGD": "gossipsim.optim.projected_sgd",
        "Muon": "gossipsim.optim.muon",
        "Scion": "gossipsim.optim.scion",
    },
    "Graphs with an algorithm of their own": {
        "Base-(k+1) and hyper-hypercubes": "gossipsim.network.periodic",
        "EquiTopo": "gossipsim.network.equitopo",
        "MATCHA": "gossipsim.network.matcha",
        "Pairwise gossip": "gossipsim.network.pairwise",
        "CECA": "gossipsim.network.ceca",
        "Fastest weights": "gossipsim.network.fastest",
    },
    "Compression": {
        "Compressors": "gossipsim.compression.compressor",
        "Sparsification": "gossipsim.compression.sparsification",
        "Quantization": "gossipsim.compression.quantization",
        "Low rank": "gossipsim.compression.low_rank",
    },
}


def _module_text(module: str) -> str:
    from importlib import import_module

    return inspect.getdoc(import_module(module)) or ""


def _claims(part: Any) -> str:
    """What the strategy, with its default params, promises."""
    from gossipsim.compression import TopK
    from gossipsim.strategies import claims_of

    claims = claims_of(part.target(TopK(k=1)) if part.name == "CHOCO" else part.target())
    words = {True: "yes", False: "no", None: "not known"}
    needs = ", ".join(sorted(claims.needs)).replace("_", " ")
    over = {"graph": "its neighbours", "complete": "everyone", "server": "a server"}[claims.over]
    return "\n".join(
        [
            "| exact where nodes differ | with Frank-Wolfe, Muon, Scion | needs | sends per round |",
            "|---|---|---|---|",
            f"| {words[claims.exact]} | {words[claims.exact_lmo]} | {needs} "
            f"| {claims.sends} row{'s' * (claims.sends != 1)} to {over} |",
        ]
    )


# Parts


def parts() -> str:
    """A section per kind, a heading per class."""
    from gossipsim.catalogue import shipped

    lines = [
        "# Parts",
        "",
        "What ships, with its params. A configuration can name any other importable class or function too; of",
        "`torch.optim`, `torch.optim.lr_scheduler` and networkx, every one.",
        "",
    ]
    for kind, title in KINDS.items():
        lines += [f"## {title}", ""]
        for part in shipped(kind):
            if part.path.startswith("gossipsim."):
                text = markdown(part.text or part.module_text).split("\n\n")[0]
                lines += [f"### `{part.path}`", "", text if part.ours else _escaped(text), "", *_params(part), ""]
    return "\n".join(lines)


def _params(part: Any) -> Iterator[str]:
    from gossipsim.schema.params import params_schema

    schema = params_schema(part)
    if not part.ours or schema is None or not schema["properties"]:
        return
    required = schema.get("required", [])
    yield "| param | type | default | |"
    yield "|---|---|---|---|"
    for name, each in schema["properties"].items():
        default = "required" if name in required else f"`{json.dumps(each['default'])}`" if "default" in each else ""
        default = "filled in" if name in part.offered and not default else default
        yield f"| `{name}` | {_type(each)} | {default} | {_cell(each.get('description', ''))} |"


def _cell(text: str) -> str:
    return _escaped(text).replace("|", r"\|")


def _type(schema: Schema) -> str:  # noqa: PLR0911
    """A JSON Schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return "a spec" if name in ("Spec", "OptimizerSpec", "ScheduleSpec") else f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(filter(None, map(_type, schema["anyOf"]))))
    if "then" in schema:
        inside = json.dumps(schema["then"])
        return " or ".join(
            f"a {kind.replace('_', ' ')}" for kind in sorted(set(re.findall(r"defs/(\w+?)_object", inside)))
        )
    if schema.get("type") == "array":
        items = _type(schema.get("items", {}))
        return f"list of {items}" if items else "list"
    if schema.get("type") == "object":
        inside = _type(schema["additionalProperties"]) if isinstance(schema.get("additionalProperties"), dict) else ""
        return f"object of {inside}" if inside else "object"
    return str(schema.get("type", ""))


# Configuration


def configuration() -> str:
    """The keys of an experiment, from the pydantic models."""
    from gossipsim.config import experiment_schema

    schema = experiment_schema()
    text = (ROOT / "docs" / "reference" / "configuration.head.md").read_text()
    lines = [text, "## Experiment", "", *_keys(schema), ""]
    for name, each in schema["$defs"].items():
        fields = each["anyOf"][1] if "anyOf" in each else each
        lines += [f"## {name}", "", _escaped(fields.get("description", "")), "", *_keys(fields), ""]
    return "\n".join(lines)


def _keys(schema: Schema) -> Iterator[str]:
    yield "| key | type | default | |"
    yield "|---|---|---|---|"
    for key, each in schema.get("properties", {}).items():
        required = key in schema.get("required", [])
        default = "**required**" if required else _default(each)
        yield f"| `{key}` | {_cell_type(each)} | {default} | {_cell(each.get('description', ''))} |"


def _cell_type(schema: Schema) -> str:
    return _type(schema).replace(" or null", "")


def _default(schema: Schema) -> str:
    value = schema.get("default")
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, dict):
        return f"`{value['class']}`" if "class" in value else ""
    return f"`{json.dumps(value)}`"


# Commands


def commands() -> str:
    """The commands and their options, from the typer application."""
    import typer

    from gossipsim.cli import app

    group = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        "`gossipsim COMMAND --help` says the same. `python -m gossipsim` is `gossipsim`, and",
        "`python -m gossipsim.runner --config CONFIG` is `gossipsim run CONFIG`, under torchrun too.",
        "",
        "Exit codes: 0 every run has a result, 1 a run or a gate failed, 2 bad usage or configuration, 130",
        "interrupted.",
        "",
    ]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        lines += [f"## {name}", "", *_command(name, command), ""]
    return "\n".join(lines)


def _command(name: str, command: Any) -> Iterator[str]:
    first, _, rest = inspect.cleandoc(command.help or "").partition("\n")
    what, _, example = first.rpartition(": ")
    if not what:
        what, example = example, f"gossipsim {name}"
    yield f"{_escaped(what)}."
    yield ""
    yield f"```bash\n{example}\n```"
    yield ""
    yield _escaped(rest.strip())
    yield ""
    yield "| | | |"
    yield "|---|---|---|"
    for param in command.params:
        if param.name == "help":
            continue
        names = (
            f"`{param.name.upper()}`"
            if param.param_type_name == "argument"
            else ", ".join(f"`{o}`" for o in param.opts)
        )
        default = param.default if not callable(param.default) else None
        shown = f"`{default}`" if default not in (None, False, (), []) and str(default) != "." else ""
        yield f"| {names} | {_cell(param.help or '')} | {shown} |"
