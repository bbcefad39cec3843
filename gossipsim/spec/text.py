"""Words for errors: paths inside a document, values as JSON, near names."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any

Path = tuple[str | int, ...]

_SHOWN = 60
_LONGEST_LINE = 1500
_KINDS: dict[type, str] = {str: "a string", list: "a list", dict: "an object"}


def dotted(path: Path) -> str:
    """A path inside a JSON document as people write it.

    >>> dotted(("optimizers", 0, "params", "lr"))
    'optimizers[0].params.lr'
    >>> dotted(("grid", "network.nodes", 1))
    'grid["network.nodes"][1]'
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part and all(character.isalnum() or character in "_-$" for character in part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part)}]"
    return text


def in_one_line(error: BaseException) -> str:
    """The message of an error, without line breaks."""
    return " ".join(str(error).split())


def printable(text: str) -> str:
    r"""One line, not too long, that a terminal shows and does not act on.

    >>> printable("two\nlines and \x1b[31m colours")
    'two lines and \\x1b[31m colours'
    """
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(text.splitlines()))
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}"


def as_markdown(text: str) -> str:
    r"""A name that neither ends a cell of a table nor is read as markup.

    >>> as_markdown("a|b <script>")
    'a\\|b \\<script\\>'
    """
    return re.sub(r"([\\|*_`<>\[\]])", r"\\\1", " ".join(text.split()))


def show(value: Any) -> str:
    """A value as JSON with its kind, shortened.

    >>> show("8")
    '"8" (a string)'
    """
    if value is None:
        return "null"
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        return f"a Python {type(value).__name__}"
    if len(text) > _SHOWN:
        text = f"{text[:_SHOWN]}..."
    kind = next((noun for each, noun in _KINDS.items() if isinstance(value, each)), None)
    return f"{text} ({kind})" if kind else text


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`` (did you mean 'ring'?)`` for the nearest candidate, whatever its case, or nothing.

    >>> did_you_mean("Rnig", ["ring", "star"])
    " (did you mean 'ring'?)"
    >>> did_you_mean("karate", ["ring", "star"])
    ''
    """
    by_lower_case: dict[str, str] = {}
    for candidate in candidates:
        by_lower_case.setdefault(candidate.lower(), candidate)
    near = difflib.get_close_matches(word.lower(), by_lower_case, n=1)
    return f" (did you mean '{by_lower_case[near[0]]}'?)" if near else ""
