"""Tasks: data, loss and metrics; those whose optimum is known say so."""

from gossipsim.tasks.classification import Classification, DigitsSupervisedTask
from gossipsim.tasks.quadratic import QuadraticTask
from gossipsim.tasks.task import InMemory, Optimum, Task

__all__ = [
    "Classification",
    "DigitsSupervisedTask",
    "InMemory",
    "Optimum",
    "QuadraticTask",
    "Task",
]
