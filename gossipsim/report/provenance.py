"""Where an experiment comes from: its command, key, version and environment, and the README that says so."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossipsim.results import Results, load, read_json, write_text
from gossipsim.spec import as_markdown

_README = """\
# {title}

{count} ({states}). Open `report.html` for the results.

## How to reproduce

```sh
{command}
```

- gossipsim {version}; versions and hardware are in `env.json`.
- Experiment key `{key}`: the hash of all that decides the results.
- On the same kind of processor and versions, the same key gives the same bits, in one process, in many, and
  under torchrun. Compare `params_sha256`
  in the `summary.json` of each run.

## Layout

| path | what it is |
|---|---|
| `config.json` | the configuration as it was given |
| `resolved.json` | all runs, with every default filled in, in order |
| `env.json` | command, versions, hardware |
| `summary.json` | states of the runs, best values |
| `results.csv` | a row per run: last and best value of each metric |
| `results_mean.csv` | a row per cell: mean, standard deviation (n - 1) and half the 95% interval over complete seeds |
| `tables/<task>/<model>.tex`, `.md` | the same for a paper; `gossipsim table` makes others |
| `report.html` | one self-contained page: tables, curves, topologies, data |
| `plots/<task>/<model>/` | curves as PNG and PDF, also against bytes and simulated time; `steps/` has those per step |
| `plots/<task>/partition*.*` | samples of each class at each node |
| `runs/<task>/<model>/<optimizer>/<cell>/seed_<s>/` | one run: |
| `... run.json` | what was run, its key, its status and error |
| `... history.jsonl`, `steps.jsonl` | a record per evaluation, per logged step |
| `... nodes.jsonl` | a record per frame: each node's distance to the mean, and at evaluations its own metrics |
| `... timing.jsonl` | cumulative seconds; never part of the other files, which are reproducible |
| `... parameters.npz` | `params`: final parameters, one row per node |
| `... manifest.json` | size and SHA-256 of each file of a result; a run whose files differ is run again |
| `... summary.json` | last and best metrics, `params_sha256`, split, classes per node, network |

Diverged runs are results: they are left out of means and counted.
"""


@dataclass(frozen=True)
class Provenance:
    """What a figure or a page says about its origin; ``date`` is "" where it is not known."""

    command: str
    key: str
    version: str
    date: str
    environment: dict[str, Any]

    @classmethod
    def of(cls, results: Results) -> Provenance:
        """Reads env.json; an experiment without one is reproduced from its configuration."""
        path = results.directory / "env.json"
        environment = read_json(path) if path.is_file() else {}
        command = environment.get("command") or "gossipsim run config.json"
        versions = (run.version for run in results.runs if run.version)
        return cls(
            command=command if isinstance(command, str) else shlex.join(map(str, command)),
            key=results.key,
            version=next(versions, str(environment.get("version", "unknown"))),
            date=str(environment.get("date", "")),
            environment=environment,
        )


def states(results: Results) -> dict[str, int]:
    """How many runs are in each state, most frequent first."""
    return dict(Counter(run.status for run in results.runs).most_common())


def plural(count: int, noun: str) -> str:
    """
    >>> plural(1, "run"), plural(2, "run")
    ('1 run', '2 runs')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def write_readme(source: Path | str | Results) -> Path:
    """Writes the README.md of an experiment: how to reproduce it and what its files are."""
    results = source if isinstance(source, Results) else load(source)
    provenance = Provenance.of(results)
    text = _README.format(
        title=as_markdown(results.name) or results.directory.name,
        count=plural(len(results.runs), "run"),
        states=", ".join(f"{count} {status}" for status, count in states(results).items()) or "none planned",
        command=" ".join(provenance.command.splitlines()),
        version=provenance.version,
        key=results.key,
    )
    path = results.directory / "README.md"
    write_text(path, text)
    return path
