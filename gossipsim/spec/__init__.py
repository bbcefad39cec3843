"""From a class path in JSON to an object: ``{"class": "torch.optim.SGD", "params": {"lr": 0.1}}``.

There is no registry: any importable class or function can be named, so a configuration is code and is to be
trusted like code; what is refused all the same, :mod:`gossipsim.spec.trust` says. A spec is checked against the
signature of what it names before anything is built (:func:`signature_problems`); :func:`build` calls it with its params
and with what the caller has on offer.
"""

from gossipsim.spec.build import BuildError, build, build_callable, build_optimizer, is_spec, normalise
from gossipsim.spec.locate import LocateError, locate, use_import_path
from gossipsim.spec.signature import signature_problems
from gossipsim.spec.text import Path, as_markdown, did_you_mean, dotted, in_one_line, printable, show
from gossipsim.spec.trust import allow_only

__all__ = [
    "BuildError",
    "LocateError",
    "Path",
    "allow_only",
    "as_markdown",
    "build",
    "build_callable",
    "build_optimizer",
    "did_you_mean",
    "dotted",
    "in_one_line",
    "is_spec",
    "locate",
    "normalise",
    "printable",
    "show",
    "signature_problems",
    "use_import_path",
]
