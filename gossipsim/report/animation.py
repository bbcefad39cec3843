"""A run as an animation: its graph, each node in the colour of how far it is from the mean, beside its curves.

From files alone: nodes.jsonl has the nodes, history.jsonl the curve, summary.json the graph. What stands still is drawn
once; of each frame only what has moved is drawn anew, which makes a second's work of a hundred frames.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from gossipsim.report.film import DISTANCE, Film, Panel, film, palette, stage
from gossipsim.report.style import add_font, settings
from gossipsim.results import Results, Run, safe_name
from gossipsim.results.files import write_bytes

FORMATS = (".gif", ".mp4")
_HOLD = 1.5  # seconds of the last frame


@dataclass(frozen=True)
class Look:
    """What an animation shows.

    Attributes:
        metric: of the upper curve; None: the one that ranks the report's table.
        value: what nodes are coloured by, "distance" (to the mean) or a metric of their own, "local_test_accuracy".
        most: frames, at most.
        fps: frames a second.
    """

    metric: str | None = None
    value: str = DISTANCE
    most: int = 100
    fps: float = 12.0


def animate(results: Results, run: Run, path: Path | None = None, look: Look | None = None) -> Path:
    """Writes the animation of a run of `results`; returns its path, by default `animations/*.gif` of the experiment.

    Raises:
        ValueError: for another format, a run without frames, a metric that it does not have, or an .mp4 without
            ffmpeg.
    """
    look = look or Look()
    path = path or default_path(results, run)
    _check_format(path)
    shown = film(results, run, look.metric, look.value, look.most)
    with mpl.rc_context():
        mpl.rcdefaults()
        add_font()
        mpl.rcParams.update(settings([shown.title, shown.subtitle]))
        pictures = _pictures(shown)
    gif = path.suffix.lower() == ".gif"
    content = _gif(pictures, shown, look.fps) if gif else _mp4(pictures, look.fps)
    write_bytes(path, content)
    return path


def default_path(results: Results, run: Run) -> Path:
    """`animations/<task>_<model>_<optimizer>_<cell>_seed_<s>.gif`."""
    parts = [*(run.labels[label] for label in ("task", "model", "optimizer", "cell")), f"seed_{run.seed}"]
    return results.directory / "animations" / f"{safe_name('_'.join(filter(None, parts)))}.gif"


def _check_format(path: Path) -> None:
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"-o: the file must end in {' or '.join(FORMATS)}, got {path.name!r}")
    if path.suffix.lower() == ".mp4" and shutil.which("ffmpeg") is None:
        raise ValueError("-o: an .mp4 needs ffmpeg, which is not installed here; install it, or write a .gif")


def _pictures(shown: Film) -> list[Image.Image]:
    """One picture per frame."""
    figure, panels = stage(shown)
    canvas: Any = FigureCanvasAgg(figure)
    moving = [artist for panel in panels for artist in panel.moving]
    for artist in moving:
        artist.set_animated(True)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    return [_picture(figure, canvas, still, panels, number) for number in range(len(shown.rounds))]


def _picture(figure: Figure, canvas: Any, still: Any, panels: Sequence[Panel], number: int) -> Image.Image:
    canvas.restore_region(still)
    for panel in panels:
        panel.show(number)
        for artist in panel.moving:
            figure.draw_artist(artist)
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _gif(pictures: Sequence[Image.Image], shown: Film, fps: float) -> bytes:
    """All frames in the same colours, so that what stands still is stored once."""
    colours = Image.new("P", (1, 1))
    colours.putpalette([level for colour in palette(shown.colour) for level in colour])
    frames = [picture.quantize(palette=colours, dither=Image.Dither.NONE) for picture in pictures]
    delays = [round(1000 / fps)] * (len(frames) - 1) + [round(1000 * _HOLD)]
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:], duration=delays, loop=0, disposal=1)
    return content.getvalue()


def _mp4(pictures: Sequence[Image.Image], fps: float) -> bytes:
    """H.264 as every player shows it. ffmpeg needs a file to write to, not a pipe."""
    import tempfile

    width, height = pictures[0].size
    even = f"scale={width - width % 2}:{height - height % 2}"
    with tempfile.TemporaryDirectory(prefix="gossipsim-") as folder:
        file = Path(folder) / "out.mp4"
        command = ["ffmpeg", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        command += [
            "-r",
            f"{fps:g}",
            "-i",
            "-",
            "-vf",
            even,
            "-pix_fmt",
            "yuv420p",
            "-movflags",
            "+faststart",
            str(file),
        ]
        held = [pictures[-1]] * round(fps * _HOLD)
        raw = b"".join(picture.tobytes() for picture in (*pictures, *held))
        done = subprocess.run(command, input=raw, capture_output=True, check=False)
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise ValueError(f"-o: ffmpeg could not write the .mp4: {' '.join(reason)}; write a .gif")
        return file.read_bytes()
