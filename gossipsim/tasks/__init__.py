"""Tasks: data, loss and metrics; those whose optimum is known say so."""

from gossipsim.tasks.classification import Classification, DigitsSupervisedTask
from gossipsim.tasks.files import MissingDataError
from gossipsim.tasks.logistic import LogisticTask
from gossipsim.tasks.quadratic import QuadraticTask
from gossipsim.tasks.task import InMemory, Optimum, Task
from gossipsim.tasks.vision import CIFAR10SupervisedTask, FashionMNISTSupervisedTask, MNISTSupervisedTask

__all__ = [
    "CIFAR10SupervisedTask",
    "Classification",
    "DigitsSupervisedTask",
    "FashionMNISTSupervisedTask",
    "InMemory",
    "LogisticTask",
    "MNISTSupervisedTask",
    "MissingDataError",
    "Optimum",
    "QuadraticTask",
    "Task",
]
