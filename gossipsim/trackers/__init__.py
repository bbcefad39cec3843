"""Trackers: a run's records in TensorBoard, Weights & Biases or Trackio, beside the files that they are read from.

No training code knows of them. The launcher reads `steps.jsonl` and `history.jsonl` as they grow and passes the
records on, so files and bits are the same with and without, for any number of processes.
"""

from gossipsim.trackers.names import TRACKERS, check_trackers
from gossipsim.trackers.tracking import Log, Tracker, Tracking, open_trackers

__all__ = ["TRACKERS", "Log", "Tracker", "Tracking", "check_trackers", "open_trackers"]
