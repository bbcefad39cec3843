"""JSON that knows its lines: every key and value of a document can be named as ``file:line``.

Stricter than :mod:`json`: duplicate keys, NaN, Infinity, numbers that overflow, lone surrogates, deep nesting
and huge files are errors. Mistakes after which it is clear how to go on (a trailing comma, a comment) are
reported together with what follows them.
"""

from __future__ import annotations

import bisect
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]  # json's own, absent from typeshed
from os import PathLike, fspath
from typing import Any

from gossipsim.spec import Path, show

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 64
_MAX_INTEGER = 2**63

_BLANK = re.compile(r"[ \t\r\n]*")
_COMMENT = re.compile(r"//[^\n]*|#[^\n]*|/\*.*?\*/", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
_WORD = re.compile(r"[^\s,:\[\]{}\"]+")
_WORDS = {"true": True, "false": False, "null": None}
_NEARLY = {"True": True, "False": False, "None": None} | dict.fromkeys(
    ["NaN", "nan", "Infinity", "-Infinity", "inf", "-inf"], ""
)


@dataclass
class Source:
    """One document: its value, the line of each path in it, and what is wrong with its text."""

    label: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[tuple[int | None, Path, str]] = field(default_factory=list)
    broken: set[Path] = field(default_factory=set)  # values that were reported here and are null now
    readable: bool = True  # False where no value could be read at all


class _UnreadableError(Exception):
    """The text cannot be followed any further; the problem is already noted."""


def parse(text: str, label: str) -> Source:
    """Reads a JSON text.

    >>> source = parse('{"lr": 1,\\n "lr": 2}', "a.json")
    >>> source.value, source.problems
    ({'lr': 1}, [(2, ('lr',), 'duplicate key; the first is on line 1')])
    """
    reader = _Reader(text, Source(label))
    try:
        reader.document()
    except _UnreadableError:
        reader.source.readable = False
    return reader.source


class _Reader:
    def __init__(self, text: str, source: Source) -> None:
        self.text = text
        self.source = source
        self.newlines = [match.start() for match in re.finditer("\n", text)]

    def line(self, position: int) -> int:
        return bisect.bisect_left(self.newlines, position) + 1

    def note(self, position: int, path: Path, message: str) -> None:
        self.source.problems.append((self.line(position), path, message))

    def fail(self, position: int, path: Path, message: str) -> _UnreadableError:
        self.note(position, path, message)
        return _UnreadableError()

    def refuse(self, position: int, path: Path, message: str) -> None:
        """Notes a value that cannot be used and is null from here on."""
        self.note(position, path, message)
        self.source.broken.add(path)

    def skip(self, position: int, path: Path) -> int:
        """Past blanks; comments are noted and passed."""
        while True:
            blank = _BLANK.match(self.text, position)
            assert blank is not None
            position = blank.end()
            comment = _COMMENT.match(self.text, position)
            if comment is None:
                return position
            self.note(position, path, 'JSON has no comments; remove it, or use the "description" key')
            position = comment.end()

    def document(self) -> None:
        start = self.skip(0, ())
        if start == len(self.text):
            raise self.fail(start, (), "the file is empty; expected JSON")
        self.source.lines[()] = self.line(start)
        self.source.value, end = self.value(start, ())
        end = self.skip(end, ())
        if end < len(self.text):
            raise self.fail(end, (), f"expected the end of the file, got {self.text[end : end + 20]!r}")

    def value(self, position: int, path: Path) -> tuple[Any, int]:
        character = self.text[position : position + 1]
        if len(path) > MAX_DEPTH:
            raise self.fail(position, path[:3], f"nested more than {MAX_DEPTH} levels deep")
        if character == "{":
            return self.object(position, path)
        if character == "[":
            return self.array(position, path)
        if character == '"':
            return self.string(position, path)
        number = _NUMBER.match(self.text, position)
        word = _WORD.match(self.text, position)
        if number and word and number.end() == word.end():
            return self.number(number, path), number.end()
        return self.word(word.group() if word else "", position, path)

    def word(self, word: str, position: int, path: Path) -> tuple[Any, int]:
        end = position + len(word)
        if word in _WORDS:
            return _WORDS[word], end
        if word in _NEARLY:
            value = _NEARLY[word]
            if value == "":
                self.refuse(position, path, f"{word} is not JSON; give a finite number")
                return None, end
            self.note(position, path, f"{word} is not JSON; write {json.dumps(value)}")
            return value, end
        if position >= len(self.text):
            raise self.fail(position, path, "the file ends too early: a value, a bracket or a brace is missing")
        found = word or self.text[position]
        quotes = "; strings stand in double quotes" if found[0] == "'" or found[0].isalpha() else ""
        raise self.fail(position, path, f"not valid JSON: expected a value, got {found[:40]!r}{quotes}")

    def number(self, match: re.Match[str], path: Path) -> int | float | None:
        text = match.group()
        if match.group(1) is None and match.group(2) is None:
            if len(text) <= 20 and abs(int(text)) < _MAX_INTEGER:
                return int(text)
            limit = "integers are below 2^63"
        elif math.isfinite(float(text)):
            return float(text)
        else:
            limit = "give a finite number"
        self.refuse(match.start(), path, f"{_short(text)} is too large; {limit}")
        return None

    def string(self, position: int, path: Path) -> tuple[str, int]:
        try:
            text, end = scanstring(self.text, position + 1, True)
        except json.JSONDecodeError as error:
            raise self.fail(error.pos, path, f"not valid JSON: {error.msg[0].lower()}{error.msg[1:]}") from None
        if _has_surrogate(text):
            self.note(position, path, "the string holds half of a surrogate pair, which is no character")
            text = text.encode("utf-8", "replace").decode()
        return text, end

    def array(self, opened: int, path: Path) -> tuple[list[Any], int]:
        items: list[Any] = []
        position = self.skip(opened + 1, path)
        if self.text[position : position + 1] == "]":
            return items, position + 1
        while True:
            here = (*path, len(items))
            self.source.lines[here] = self.line(position)
            item, position = self.value(position, here)
            items.append(item)
            position, closed = self.separator(position, path, "]", opened)
            if closed:
                return items, position

    def object(self, opened: int, path: Path) -> tuple[dict[str, Any], int]:
        result: dict[str, Any] = {}
        position = self.skip(opened + 1, path)
        if self.text[position : position + 1] == "}":
            return result, position + 1
        while True:
            if self.text[position : position + 1] != '"':
                raise self.unexpected(position, path, "a key in double quotes", opened)
            start = position
            key, position = self.string(position, path)
            here = (*path, key)
            position = self.skip(position, here)
            if self.text[position : position + 1] != ":":
                raise self.unexpected(position, here, "a ':' after the key", opened)
            known = key in result
            if known:
                self.note(start, here, f"duplicate key; the first is on line {self.source.lines[here]}")
            else:
                self.source.lines[here] = self.line(start)
            value, position = self.value(self.skip(position + 1, here), here)
            if not known:
                result[key] = value
            position, closed = self.separator(position, path, "}", opened)
            if closed:
                return result, position

    def separator(self, position: int, path: Path, close: str, opened: int) -> tuple[int, bool]:
        """Past a comma (True past the closing bracket); a missing or a trailing comma is noted and passed."""
        end = position
        position = self.skip(position, path)
        character = self.text[position : position + 1]
        if character == close:
            return position + 1, True
        if character == ",":
            after = self.skip(position + 1, path)
            if self.text[after : after + 1] == close:
                self.note(position, path, f"not valid JSON: a comma before the closing '{close}'; remove it")
                return after + 1, True
            return after, False
        if character and character in '"{[' and (close == "]" or character == '"'):
            self.note(max(end - 1, 0), path, "not valid JSON: a comma is missing after this value")
            return position, False
        raise self.unexpected(position, path, f"',' or '{close}'", opened)

    def unexpected(self, position: int, path: Path, wanted: str, opened: int) -> _UnreadableError:
        if position >= len(self.text):
            bracket, line = self.text[opened], self.line(opened)
            return self.fail(position, path, f"the file ends too early: '{bracket}' of line {line} is not closed")
        found = self.text[position : position + 20].split("\n")[0]
        return self.fail(position, path, f"not valid JSON: expected {wanted}, got {found!r}")


def read(path: str | PathLike[str], label: str) -> Source:
    """Reads a JSON file; what cannot be read is a problem of the source, never an exception."""
    source = Source(label, readable=False)
    try:
        with open(fspath(path), "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        source.problems.append((1, (), f"cannot read the file: {reason}"))
        return source
    if len(content) > MAX_BYTES:
        source.problems.append((1, (), f"the file is larger than {MAX_BYTES // 2**20} MiB; is it a configuration?"))
        return source
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        source.problems.append((line, (), f"not UTF-8 text: {error.reason}; save the file as UTF-8"))
        return source
    return parse(text, label)


def plain(value: Any, path: Path, problems: list[tuple[Path, str]]) -> Any:
    """A copy of a Python value as JSON: tuples become lists and paths strings; the rest is a problem."""
    if len(path) > MAX_DEPTH:
        problems.append((path[:3], f"nested more than {MAX_DEPTH} levels deep"))
        return None
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or _has_surrogate(key):
                problems.append((path, f"keys are strings, got {show(key)}"))
        return {key: plain(item, (*path, key), problems) for key, item in value.items() if isinstance(key, str)}
    if isinstance(value, list | tuple):
        return [plain(item, (*path, i), problems) for i, item in enumerate(value)]
    if isinstance(value, PathLike):
        value = fspath(value)
    wrong = _not_json(value)
    if wrong:
        problems.append((path, wrong))
        return None
    return value


def _not_json(value: Any) -> str | None:
    kind = type(value)
    if value is None or kind is bool:
        return None
    if kind is str:
        return "the string holds half of a surrogate pair" if _has_surrogate(value) else None
    if kind is int:
        return None if abs(value) < _MAX_INTEGER else "too large; integers are below 2^63"
    if kind is float:
        return None if math.isfinite(value) else f"{value} is not a number that JSON has; give a finite one"
    module = kind.__module__
    name = kind.__name__ if module == "builtins" else f"{module}.{kind.__name__}"
    hint = "; write the class path as a string" if callable(value) else ""
    return f"a {name} is not JSON: use numbers, strings, true, false, null, lists and objects{hint}"


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:20]}..."
