"""The folder `checkpoint` of a run: the two newest states of it, each a file and a seal.

    step_000000120.pt      shared: what all processes know alike; nodes: a row for each node
    step_000000120.json    the seal: size and SHA-256 of that file, the run's key, step, round, version of the format

A seal is written when its file is on disk, and the state before the last is removed when the seal is: a process or a
machine may die at any moment. What does not agree with its seal is not read.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import torch

from gossipsim.checkpoints.trees import Packed
from gossipsim.results import TEMPORARY, read_json, replacing, write_json, writing

FOLDER = "checkpoint"
"""In a run's directory."""

FORMAT = 1
"""Version of the format; others are not read."""

GENERATIONS = 2


class Damaged(ValueError):
    """A checkpoint that cannot be used."""


@dataclass(frozen=True)
class Seal:
    """What is known of a checkpoint without reading it."""

    format: int
    key: str
    step: int
    round: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run between two rounds.

    Attributes:
        shared: one tree. nodes: one for each node.
    """

    step: int
    round: int
    shared: Packed
    nodes: Packed


class Folder:
    """The checkpoints of a run.

    Args:
        directory: of the run.
        key: of the run; checkpoints of others are not read.
    """

    def __init__(self, directory: Path, key: str) -> None:
        self.path, self._key = directory / FOLDER, key

    def write(self, checkpoint: Checkpoint) -> None:
        """Adds a checkpoint; only the two newest remain.

        Raises:
            OSError: where it cannot be written; those that there are stay.
        """
        name = f"step_{checkpoint.step:09d}"
        content = {"shared": _content(checkpoint.shared), "nodes": _content(checkpoint.nodes)}
        with writing(self.path):
            self.path.mkdir(exist_ok=True)
        with replacing(self.path / f"{name}.pt") as file:
            hashing = _Hashing(file)
            try:
                torch.save(content, hashing)  # type: ignore[arg-type]  # it needs no more of a file
            except RuntimeError as error:  # of a full disk
                raise OSError(str(error).splitlines()[0]) from error
        seal = Seal(FORMAT, self._key, checkpoint.step, checkpoint.round, hashing.bytes, hashing.sha256.hexdigest())
        write_json(self.path / f"{name}.json", asdict(seal))
        self._remove_all_but([name, *(found for found in self.names() if found != name)][:GENERATIONS])

    def names(self) -> list[str]:
        """The checkpoints that have a seal, newest first."""
        return sorted((path.stem for path in self.path.glob("step_*.json")), reverse=True)

    def read(self, name: str) -> Checkpoint:
        """
        Raises:
            Damaged: where it is torn, changed, another run's or of another version.
        """
        try:
            seal = Seal(**read_json(self.path / f"{name}.json"))
            if seal.format != FORMAT:
                raise Damaged(f"it has format {seal.format}, this version reads format {FORMAT}")
            if seal.key != self._key:
                raise Damaged("it belongs to a run of another configuration")
            with (self.path / f"{name}.pt").open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != seal.sha256:
                    raise Damaged("its SHA-256 is not that of its seal")
                file.seek(0)
                content = torch.load(file, weights_only=True)
            return Checkpoint(seal.step, seal.round, Packed(**content["shared"]), Packed(**content["nodes"]))
        except Damaged:
            raise
        except Exception as error:  # a file may hold anything
            raise Damaged(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error

    def remove(self, name: str) -> None:
        """Removes one checkpoint: first its seal."""
        for suffix in (".json", ".pt"):
            (self.path / f"{name}{suffix}").unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _remove_all_but(self, names: list[str]) -> None:
        for name in set(self.names()) - set(names):
            self.remove(name)
        for path in self._leftovers(names):
            with suppress(OSError):
                path.unlink()

    def _leftovers(self, names: list[str]) -> Iterator[Path]:
        """What processes that were killed while they wrote have left."""
        for path in self.path.iterdir():
            if path.suffix == TEMPORARY or (path.suffix == ".pt" and path.stem not in names):
                yield path


class _Hashing:
    """Writes to a file and adds up what it has written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256, self.bytes = hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _content(packed: Packed) -> dict[str, object]:
    """For torch.load with `weights_only`."""
    return {"skeletons": packed.skeletons, "which": packed.which, "rows": packed.rows}
