"""The JSON of an experiment -> a checked :class:`Plan` of its runs. All mistakes are reported at once.

{"name": "digits_ring", "task_dirs": ["../tasks/digits"],
 "network": {"nodes": 8, "topology": "networkx.cycle_graph"},
 "grid": {"network.nodes": [4, 8]}, "seeds": [0, 1, 2]}
"""

from gossipsim.config.models import Gate
from gossipsim.config.origins import ConfigError, Origins
from gossipsim.config.plan import experiment_schema, plan
from gossipsim.config.runs import Plan, RunSpec

__all__ = ["ConfigError", "Gate", "Origins", "Plan", "RunSpec", "experiment_schema", "plan"]
