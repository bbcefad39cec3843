"""The shipped configurations with something wrong: mutant number k is the same one every time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.pieces import CLASS_PATHS, KEYS, NO_NUMBERS, NOISE, NUMBERS, PATHS, PROCESSES, SEEDS, STRINGS, Raw
from tests.fuzz.plausible import network, part, spec

Place = tuple[Any, Any]
"""A container and a key of it, or an index."""

Change = Callable[[Any, str, "Corpus", random.Random], tuple[Any, str]]
"""Gives the document of a file anew, and says what is different."""


@dataclass
class Mutant:
    """`files` replace those of the same names; `overrides` are texts for --set."""

    files: dict[str, bytes]
    overrides: list[str] = field(default_factory=list)
    seeds: str | None = None
    processes: str = "1"
    what: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Corpus:
    """The experiments of a folder and the files of their task directories, by their paths in it."""

    texts: dict[str, str]
    experiments: dict[str, list[str]]  # file of an experiment -> it and the files of its task directories
    values: list[Any]  # all that stands anywhere, to be put where it does not belong

    @classmethod
    def of(cls, folder: Path, patterns: list[str]) -> Corpus:
        files = sorted(file for pattern in patterns for file in folder.glob(pattern))
        texts, experiments = {}, {}
        for file in files:
            name = str(file.relative_to(folder))
            document = json.loads(file.read_text())
            tasks = [(file.parent / each).resolve() for each in document.get("task_dirs", [])]
            parts = [part for task in tasks for part in sorted(task.glob("*.json"))]
            experiments[name] = [name, *(str(part.relative_to(folder)) for part in parts)]
            texts |= {each: (folder / each).read_text() for each in experiments[name]}
        documents = [json.loads(text) for text in texts.values()]
        return cls(
            texts, experiments, [item for each in documents for holder, key in _places(each) for item in [holder[key]]]
        )


def _places(value: Any) -> Iterator[Place]:
    """Everywhere inside a value."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def mutant(corpus: Corpus, number: int) -> tuple[str, Mutant]:
    """The file of an experiment, and what is different about it."""
    draw = random.Random(number)
    experiment = draw.choice(sorted(corpus.experiments))
    made = Mutant({})
    plausible = draw.random() < 0.6
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        name = draw.choice([experiment, *corpus.experiments[experiment]])
        if plausible:
            _change(made, name, corpus, draw, _another_part)
        elif draw.random() < 0.15:
            _on_the_command_line(made, corpus, draw)
        elif draw.random() < 0.2 or not _change(made, name, corpus, draw, _anything):
            made.files[name] = _damaged(made.files.get(name, corpus.texts[name].encode()), draw)
            made.what.append(f"{name}: bytes")
    return experiment, made


def _change(made: Mutant, name: str, corpus: Corpus, draw: random.Random, change: Change) -> bool:
    """Changes the document of a file; False where it is none any more."""
    try:
        document = json.loads(made.files.get(name, corpus.texts[name].encode()))
    except (ValueError, RecursionError):
        return False
    document, what = change(document, name, corpus, draw)
    made.files[name] = _dump(document, draw.choice([None, 1, 2])).encode("utf-8", "surrogatepass")
    made.what.append(f"{name}: {what}")
    return True


def _another_part(document: Any, name: str, corpus: Corpus, draw: random.Random) -> tuple[Any, str]:
    """A part that ships where one of its kind can stand, with params of the right kind that may yet be wrong."""
    kind = Path(name).stem
    if kind == "task":
        return spec("task", draw), "task"
    if isinstance(document, list):
        if document:
            document[draw.randrange(len(document))] = part(kind.removesuffix("s"), draw)
        return document, kind
    section = draw.choice(["trainer", "strategy", "partition", "network", "network", "grid", "params", "params"])
    if section == "network":
        document["network"] = network(draw)
    elif section == "grid":
        document["grid"] = {draw.choice(PATHS): [_piece(corpus, draw) for _ in range(draw.choice([1, 2, 3]))]}
    elif section == "params":
        section = draw.choice(["trainer", "strategy", "partition"])
        given = document.get(section)
        if isinstance(given, dict) and isinstance(given.get("params"), dict):
            again = spec(section, draw, path=given.get("class"))
            given["params"] |= again["params"]
    else:
        document[section] = spec(section, draw)
    return document, section


def _anything(document: Any, name: str, corpus: Corpus, draw: random.Random) -> tuple[Any, str]:
    """A document with one change somewhere inside."""
    places = list(_places(document))
    if not places or draw.random() < 0.02:
        return _piece(corpus, draw), "the whole document"
    holder, key = draw.choice(places)
    change: Callable[[Any, Any, Corpus, random.Random], str] = draw.choice(
        [_replace, _replace, _replace, _replace, _drop, _rename, _add, _twice, _swap, _wrap, _class]
    )
    return document, f"{change(holder, key, corpus, draw)} at {key!r}"


def _replace(holder: Any, key: Any, corpus: Corpus, draw: random.Random) -> str:
    holder[key] = _piece(corpus, draw)
    return "replaced"


def _drop(holder: Any, key: Any, corpus: Corpus, draw: random.Random) -> str:
    del holder[key]
    return "dropped"


def _rename(holder: Any, key: Any, corpus: Corpus, draw: random.Random) -> str:
    if isinstance(holder, dict):
        near = key[:-1] if draw.random() < 0.5 else draw.choice(KEYS)
        holder[near] = holder.pop(key)
    return "renamed"


def _add(holder: Any, key: Any, corpus: Corpus, draw: random.Random) -> str:
    if isinstance(holder, dict):
        holder[draw.choice(KEYS)] = _piece(corpus, draw)
    else:
        holder.insert(draw.randrange(len(holder) + 1), _piece(corpus, draw))
    return "added"


def _twice(holder: Any, key: Any, corpus: Corpus, draw: random.Random) -> str:
    again = json.dumps(holder[key])
    if isinstance(holder, dict):
        holder[key] = Raw(f"{again}, {json.dumps(key)}: {again}")
    else:
        holder.append(json.loads(again))
    return "doubled"


def _swap(holder: Any, key: Any, corpus: Corpus, draw: random.Random) -> str:
    holder[key] = draw.choice(corpus.values)
    return "swapped"


def _wrap(holder: Any, key: Any, corpus: Corpus, draw: random.Random) -> str:
    depth = draw.choice([1, 1, 2, 62, 66, 3000])
    opening, closing = draw.choice([("[", "]"), ('{"a":', "}"), ('{"class": "own.Any", "params": {"part":', "}}")])
    holder[key] = Raw(opening * depth + json.dumps(holder[key]) + closing * depth)
    return "wrapped"


def _class(holder: Any, key: Any, corpus: Corpus, draw: random.Random) -> str:
    path = draw.choice(CLASS_PATHS)
    holder[key] = draw.choice(
        [path, {"class": path}, {"class": path, "params": {draw.choice(KEYS): _piece(corpus, draw)}}]
    )
    return "another class"


def _piece(corpus: Corpus, draw: random.Random) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: draw.choice(NUMBERS),
        lambda: draw.choice(STRINGS),
        lambda: draw.choice([None, True, False, [], {}, [[]], {"class": 3}, {"class": "own.Any", "params": 3}]),
        lambda: draw.choice(NO_NUMBERS),
        lambda: draw.choice(CLASS_PATHS),
        lambda: draw.choice(corpus.values),
        lambda: [draw.choice(NUMBERS + STRINGS) for _ in range(draw.randrange(4))],
        lambda: {draw.choice(KEYS): draw.choice([*NUMBERS, *STRINGS, [1, 2], {}]) for _ in range(draw.randrange(4))},
    ]
    return draw.choices(kinds, [3, 3, 2, 1, 2, 3, 1, 1])[0]()


def _dump(value: Any, indent: int | None, level: int = 1) -> str:
    """As json.dumps, which does not know :class:`Raw`."""
    if isinstance(value, Raw):
        return str(value)
    gap = "" if indent is None else "\n" + " " * indent * level
    if isinstance(value, dict):
        inside = f",{gap}".join(f"{json.dumps(key)}: {_dump(item, indent, level + 1)}" for key, item in value.items())
        return f"{{{gap}{inside}}}"
    if isinstance(value, list):
        return f"[{gap}{f',{gap}'.join(_dump(item, indent, level + 1) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


def _damaged(text: bytes, draw: random.Random) -> bytes:
    """A file with some bytes changed."""
    at = draw.randrange(len(text) + 1)
    cut = draw.choice([0, 1, 1, 2, 8, 64])
    noise = draw.choice([*NOISE, bytes([draw.randrange(256)]), text[:200], text[at : at + 40]])
    return draw.choice([text[:at], b"", text[at:]]) if draw.random() < 0.1 else text[:at] + noise + text[at + cut :]


def _on_the_command_line(made: Mutant, corpus: Corpus, draw: random.Random) -> None:
    value = draw.choice([_dump(_piece(corpus, draw), None), draw.choice(STRINGS), draw.choice(CLASS_PATHS)])
    made.overrides.append(f"{draw.choice(PATHS)}={value}")
    if draw.random() < 0.2:
        made.seeds = draw.choice(SEEDS)
    if draw.random() < 0.2:
        made.processes = draw.choice(PROCESSES)
    made.what.append(f"--set {made.overrides[-1][:60]}")
