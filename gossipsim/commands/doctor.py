"""`gossipsim doctor`."""

from __future__ import annotations

from rich.console import Console


def doctor() -> None:
    """Show what this machine offers: versions, cores, GPUs, data folder: gossipsim doctor"""
    from gossipsim.doctor import findings

    console = Console()
    for name, value in findings().items():
        console.print(f"{name:<22} {value}", highlight=False, markup=False)
