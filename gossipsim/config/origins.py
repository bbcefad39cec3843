"""Where each part of a run was written, ``file:line: path``, and errors in that order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gossipsim.config.json_source import Source
from gossipsim.spec import Path, dotted, printable

_TOKEN = re.compile(r"\[(\d+)\]|\[\"((?:[^\"\\]|\\.)*)\"\]|([^.\[\]]+)")


class ConfigError(Exception):
    """A configuration that cannot be run. `errors` has one line each: ``file:line: path: what is wrong``."""

    def __init__(self, errors: Sequence[str]) -> None:
        self.errors = [printable(line) for line in errors]
        super().__init__("\n".join(self.errors))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        return type(self), (self.errors,)


@dataclass(frozen=True)
class Anchor:
    """A place in a source. Paths inside a `whole` one, a value from a command line, are not shown."""

    source: Source
    path: Path = ()
    whole: bool = False

    def known(self) -> Path:
        """The longest part of the path that the source has."""
        return self._walk()[0]

    def is_bare_spec(self) -> bool:
        """Is this the class of a spec that is written as a string?"""
        known, value = self._walk()
        return self.path[-1:] == ("class",) and known == self.path[:-1] and isinstance(value, str)

    def _walk(self) -> tuple[Path, object]:
        value: object = self.source.value
        for depth, part in enumerate(self.path):
            if isinstance(value, dict) and part in value:
                value = value[part]
            elif isinstance(value, list) and str(part).isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                return self.path[:depth], value
        return self.path, value

    def line(self) -> int | None:
        """The line of the nearest enclosing path that has one."""
        lines = self.source.lines
        return next((lines[self.path[:n]] for n in range(len(self.path), -1, -1) if self.path[:n] in lines), None)

    def text(self, path: Path) -> str:
        line = self.line()
        place = self.source.label if line is None else f"{self.source.label}:{line}"
        return place if self.whole or not path else f"{place}: {dotted(path)}"


class Origins:
    """Maps the paths of a document, or of a run, to where they were written."""

    def __init__(self, anchors: Mapping[Path, Anchor]) -> None:
        self._anchors = dict(anchors)

    def replaced(self, path: Path, anchor: Anchor) -> Origins:
        """With everything at and below a path coming from elsewhere."""
        path = _key(path)
        kept = {known: each for known, each in self._anchors.items() if known[: len(path)] != path}
        return Origins(kept | {path: anchor})

    def anchor(self, path: Path) -> Anchor:
        key = _key(path)
        for depth in range(len(path), -1, -1):
            found = self._anchors.get(key[:depth])
            if found is not None:
                return Anchor(found.source, (*found.path, *path[depth:]), found.whole)
        raise KeyError(path)

    def of(self, path: str) -> str:
        """``file:line: path.in.that.file`` of the nearest enclosing part that was written down.

        For a dict ``<config>: path``, for an override ``--set path``.
        """
        parts = _parse(path)
        anchor = self.anchor(parts)
        unwritten = anchor.path[:1] if anchor.source is self.anchor(()).source else ()
        return anchor.text(anchor.known() or unwritten)


def _key(path: Path) -> Path:
    return tuple(str(part) for part in path)


def _parse(path: str) -> Path:
    return tuple(int(index) if index else quoted or word for index, quoted, word in _TOKEN.findall(path))


class Errors:
    """Collects everything that is wrong, once each."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[bool, str, int, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, anchor: Anchor, message: str) -> None:
        """A message about a path of a source; the path is shown in full even where the source lacks it."""
        if anchor.path in anchor.source.broken:
            return
        path = anchor.path[:-1] if anchor.is_bare_spec() else anchor.path
        place = f"{anchor.text(())}: {dotted(path)}" if path else anchor.text(())
        self.add_line(anchor.source.label, anchor.line() or 0, f"{place}: {message}", anchor.whole)

    def add_line(self, label: str, line: int, text: str, last: bool = False) -> None:
        self._found.setdefault(text, (last, label, line, len(self._found)))

    def add_source(self, source: Source) -> None:
        """What is wrong with the text of a source."""
        for line, path, message in source.problems:
            place = source.label if line is None else f"{source.label}:{line}"
            text = f"{place}: {dotted(path)}: {message}" if path else f"{place}: {message}"
            self.add_line(source.label, line or 0, text)

    def raise_if_any(self) -> None:
        if self._found:
            raise ConfigError(sorted(self._found, key=self._found.__getitem__))
