"""The faults of an experiment: those of its key `faults`, and those that the environment asks for."""

from __future__ import annotations

import os
from typing import Any

from pydantic import TypeAdapter

from gossipsim.config.documents import Document
from gossipsim.config.json_source import Source, parse
from gossipsim.config.models import shape_errors
from gossipsim.config.origins import Anchor, Errors
from gossipsim.faults import VARIABLE, Fault, from_text

FAULTS: TypeAdapter[Any] = TypeAdapter(list[Fault])


def of_environment(errors: Errors) -> Source:
    """The list that GOSSIPSIM_FAULTS holds: JSON, or faults in short."""
    text = os.environ.get(VARIABLE, "").strip()
    source = Source(f"environment variable {VARIABLE}", [])
    if text.startswith(("[", "{")):
        written = parse(text, source.label)
        source.value = written.value if isinstance(written.value, list) else [written.value]
        source.problems = [(None, path, message) for _, path, message in written.problems]  # it has one line
    else:
        try:
            source.value = from_text(text)
        except ValueError as error:
            source.problems = [(None, (), str(error))]
    errors.add_source(source)
    for path, message in [] if source.problems else shape_errors(FAULTS, source.value):
        errors.add(Anchor(source, path), message)
    return source


def all_faults(document: Document, asked: Source, nodes: int, errors: Errors) -> tuple[Fault, ...]:
    """Those of the document and those of the environment, which are known to have the right shape.

    Args:
        nodes: of the largest cell.
    """
    places = [document.origins.anchor(("faults", i)) for i in range(len(document.value.get("faults", [])))]
    places += [Anchor(asked, (i,)) for i in range(len(asked.value))]
    faults = tuple(Fault.model_validate(each) for each in [*document.value.get("faults", []), *asked.value])
    for fault, anchor in zip(faults, places, strict=True):
        if fault.node is not None and fault.node >= nodes:
            errors.add(anchor, f"there is no node {fault.node}; expected 0 to {nodes - 1}")
    return faults
