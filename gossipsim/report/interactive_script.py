"""The scripts of report.html: our own, plotly.js packed into the page, and a policy that allows just these two.

plotly.js is 4.8 MB; compressed it takes 2 MB of the page, and a browser unpacks it in a few hundredths of a second.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"
_OURS = ("page.js", "curves.js", "player.js")


@dataclass(frozen=True)
class Scripts:
    """``ours`` is the page's script, ``plotly`` the packed library, "" where the page draws nothing.

    ``policy`` is the Content-Security-Policy: nothing is loaded from anywhere, and of scripts these alone run, so
    that a name which found its way into the page as code would still do nothing.
    """

    ours: Markup
    plotly: Markup
    policy: str


def scripts(*, with_plotly: bool) -> Scripts:
    ours = "\n".join(["", *((_TEMPLATES / name).read_text() for name in _OURS)])
    packed, checksum = _plotly() if with_plotly else ("", "")
    allowed = [_checksum(ours.encode()), *([checksum] if checksum else [])]
    policy = {
        "default-src": "'none'",
        "img-src": "data: blob:",
        "style-src": "'unsafe-inline'",
        "script-src": " ".join(f"'{one}'" for one in allowed),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return Scripts(Markup(ours), Markup(packed), "; ".join(f"{name} {value}" for name, value in policy.items()))


@cache
def _plotly() -> tuple[str, str]:
    """plotly.js, compressed and as base64, and the checksum of what it unpacks to."""
    code = pkgutil.get_data("plotly", "package_data/plotly.min.js")
    assert code is not None
    return base64.b64encode(gzip.compress(code, 6, mtime=0)).decode(), _checksum(code)


def _checksum(code: bytes) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(code).digest()).decode()}"
