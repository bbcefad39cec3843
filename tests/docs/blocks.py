"""The fenced blocks of a Markdown page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of `language` at a line of a page; a title is the name of the file that it shows."""

    page: str
    line: int
    language: str
    title: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path, text: str | None = None) -> list[Block]:
    """In order; `text` in place of the file's."""
    content = page.read_text() if text is None else text
    return [
        Block(page.name, content.count("\n", 0, match.start()) + 1, match[1], match[2], match[3])
        for match in _FENCE.finditer(content)
    ]
