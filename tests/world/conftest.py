"""Both ways by which the ranks of one machine exchange."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["shared", "gloo"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The transport that GOSSIPSIM_TRANSPORT asks for."""
    monkeypatch.setenv("GOSSIPSIM_TRANSPORT", request.param)
    return str(request.param)
