"""From the specs of a run to its parts."""

from gossipsim.parts.building import Tensors
from gossipsim.parts.parts import Parts, forget, tasks_in_memory

__all__ = ["Parts", "Tensors", "forget", "tasks_in_memory"]
