"""The nodes that a process hosts: rows, models as views into them, and the verbs `grad` and `apply`."""

from gossipsim.nodes.choice import refusal, stacked_obstacle
from gossipsim.nodes.layout import RowLayout, trainable
from gossipsim.nodes.node import Node, Recipe, needs_closure
from gossipsim.nodes.nodes import Nodes, OutOfSteps

__all__ = [
    "Node",
    "Nodes",
    "OutOfSteps",
    "Recipe",
    "RowLayout",
    "needs_closure",
    "refusal",
    "stacked_obstacle",
    "trainable",
]
