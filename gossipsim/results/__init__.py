"""Result files: experiment and run directories, reading them back, and the tables across seeds.

A workflow holds experiments ``exp_0001, exp_0002, ...``; an experiment holds its runs,
``runs/<task>/<model>/<optimizer>/<cell>/seed_<s>/``, and the tables made from them. Everything here works
on files alone: no torch, nothing that trains.
"""

from gossipsim.results.cells import COUNTERS, Cell, Run, higher_is_better, is_finite, is_number
from gossipsim.results.exports import export
from gossipsim.results.files import (
    LABELS,
    find_experiments,
    next_experiment,
    read_json,
    read_jsonl,
    run_directory,
    safe_name,
    unique_names,
    write_json,
    write_text,
)
from gossipsim.results.reading import Results, experiment_in, load
from gossipsim.results.selection import Candidate, Selection
from gossipsim.results.statistics import Comparison, Summary, compare, summarize
from gossipsim.results.tables import mean_table, write_tables
from gossipsim.results.targets import reached, target_columns

__all__ = [
    "COUNTERS",
    "LABELS",
    "Candidate",
    "Cell",
    "Comparison",
    "Results",
    "Run",
    "Selection",
    "Summary",
    "compare",
    "experiment_in",
    "export",
    "find_experiments",
    "higher_is_better",
    "is_finite",
    "is_number",
    "load",
    "mean_table",
    "next_experiment",
    "reached",
    "read_json",
    "read_jsonl",
    "run_directory",
    "safe_name",
    "summarize",
    "target_columns",
    "unique_names",
    "write_json",
    "write_tables",
    "write_text",
]
