"""Starting files for parts of a user's own: a module that works, an experiment that uses it, and its tests.

A template is a file ``templates/<kind>.py.txt``, ``<kind>.json.txt`` or ``test_<kind>.py.txt`` in which ``{{Name}}`` is
the class and ``{{name}}`` the module.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from gossipsim.results import write_text

Kind = Literal["strategy", "optimizer", "task", "topology", "partition"]
KINDS: tuple[str, ...] = get_args(Kind)

_CAMEL = re.compile(r"[A-Z][A-Za-z0-9]*")
_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def names(name: str) -> tuple[str, str]:
    """(class, module) of a name in either form.

    >>> names("MyGossip"), names("my_gossip"), names("DSGDWithADelay")
    (('MyGossip', 'my_gossip'), ('MyGossip', 'my_gossip'), ('DSGDWithADelay', 'dsgd_with_a_delay'))

    Raises:
        ValueError: for a name that is neither, for a keyword, and for one that would hide a module.
    """
    if _CAMEL.fullmatch(name):
        module = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
        found = (name, module)
    elif _SNAKE.fullmatch(name):
        found = ("".join(word.capitalize() for word in name.split("_")), name)
    else:
        raise ValueError(f"NAME: expected a class such as MyGossip or a module such as my_gossip, got {name!r}")
    if keyword.iskeyword(found[0]) or keyword.iskeyword(found[1]):
        raise ValueError(f"NAME: {name!r} is a keyword of Python; try My{found[0]}")
    if importlib.util.find_spec(found[1]) is not None:
        raise ValueError(f"NAME: {found[1]}.py would hide the module {found[1]!r}; try My{found[0]}")
    return found


def starting_files(kind: str, name: str) -> dict[str, str]:
    """File name -> text: the module, its experiment and its tests, in this order."""
    class_, module = names(name)
    templates = files(__package__) / "templates"
    targets = {f"{module}.py": f"{kind}.py", f"{module}.json": f"{kind}.json", f"test_{module}.py": f"test_{kind}.py"}
    return {
        target: (templates / f"{template}.txt").read_text().replace("{{Name}}", class_).replace("{{name}}", module)
        for target, template in targets.items()
    }


def write_starting_files(kind: str, name: str, folder: Path, *, force: bool = False) -> list[Path]:
    """Writes them all, or none.

    Raises:
        FileExistsError: naming what is there already, unless `force`.
    """
    texts = {folder / target: text for target, text in starting_files(kind, name).items()}
    there = [str(path) for path in texts if path.exists()]
    if there and not force:
        raise FileExistsError(f"{', '.join(there)}: exists; give another NAME or folder, or --force to overwrite")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return list(texts)
