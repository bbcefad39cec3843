"""The training loop and its evaluations."""

from gossipsim.trainers.supervised import SupervisedTrainer

__all__ = ["SupervisedTrainer"]
