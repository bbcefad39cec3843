"""The working directory that commands are tested in."""

from tests.cli.conftest import place

__all__ = ["place"]
