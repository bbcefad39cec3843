"""Result files: experiment and run directories, reading them back, and the tables across seeds.

A workflow holds experiments ``exp_0001, exp_0002, ...``; an experiment holds its runs,
``runs/<task>/<model>/<optimizer>/<cell>/seed_<s>/``, and the tables made from them. Everything here works
on files alone: no torch, nothing that trains.
"""

from gossipsim.results.cells import COUNTERS, Cell, Run, higher_is_better, is_finite, is_number
from gossipsim.results.disk import CannotWrite, Changed, Vanished, writing
from gossipsim.results.exports import export
from gossipsim.results.files import (
    LABELS,
    TEMPORARY,
    experiment_of,
    find_experiments,
    next_experiment,
    read_json,
    read_jsonl,
    remove_temporaries,
    replacing,
    run_directory,
    safe_name,
    unique_names,
    write_json,
    write_text,
)
from gossipsim.results.lock import Holder, Occupied, holders, occupied
from gossipsim.results.manifest import MANIFEST, doubts, is_sealed, seal
from gossipsim.results.processes import Process
from gossipsim.results.reading import ChangedResult, Results, experiment_in, load
from gossipsim.results.selection import Candidate, Selection
from gossipsim.results.states import ENDED, FOLLOWING, RESULTS, state_of
from gossipsim.results.statistics import Comparison, Summary, compare, summarize
from gossipsim.results.tables import mean_table, write_tables
from gossipsim.results.targets import reached, target_columns

__all__ = [
    "COUNTERS",
    "ENDED",
    "FOLLOWING",
    "LABELS",
    "MANIFEST",
    "RESULTS",
    "TEMPORARY",
    "Candidate",
    "CannotWrite",
    "Cell",
    "Changed",
    "ChangedResult",
    "Comparison",
    "Holder",
    "Occupied",
    "Process",
    "Results",
    "Run",
    "Selection",
    "Summary",
    "Vanished",
    "compare",
    "doubts",
    "experiment_in",
    "experiment_of",
    "export",
    "find_experiments",
    "higher_is_better",
    "holders",
    "is_finite",
    "is_number",
    "is_sealed",
    "load",
    "mean_table",
    "next_experiment",
    "occupied",
    "reached",
    "read_json",
    "read_jsonl",
    "remove_temporaries",
    "replacing",
    "run_directory",
    "safe_name",
    "seal",
    "state_of",
    "summarize",
    "target_columns",
    "unique_names",
    "write_json",
    "write_tables",
    "write_text",
    "writing",
]
