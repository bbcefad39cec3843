"""Tasks: data, loss and metrics; those whose optimum is known say so."""

from gossipsim.tasks.classification import Classification, DigitsSupervisedTask
from gossipsim.tasks.files import MissingDataError
from gossipsim.tasks.lasso import LassoTask
from gossipsim.tasks.logistic import LogisticTask
from gossipsim.tasks.matrix_completion import MatrixCompletionTask
from gossipsim.tasks.quadratic import QuadraticTask
from gossipsim.tasks.task import InMemory, Optimum, Task
from gossipsim.tasks.vision import CIFAR10SupervisedTask, FashionMNISTSupervisedTask, MNISTSupervisedTask

__all__ = [
    "CIFAR10SupervisedTask",
    "Classification",
    "DigitsSupervisedTask",
    "FashionMNISTSupervisedTask",
    "InMemory",
    "LassoTask",
    "LogisticTask",
    "MNISTSupervisedTask",
    "MatrixCompletionTask",
    "MissingDataError",
    "Optimum",
    "QuadraticTask",
    "Task",
]
