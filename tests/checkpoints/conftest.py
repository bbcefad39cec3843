"""Both ways by which the ranks of one machine exchange."""

from tests.world.conftest import way

__all__ = ["way"]
