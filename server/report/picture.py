"""The file that a picture goes to: SVG as it is, PNG drawn from it by an optional library."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from driftlock.engine.profile import Profile
from server.report.plot import Thresholds, plot
from server.report.series import ScoreSeries

PNG_ZOOM = 2  # pixels per unit of the SVG


class PictureError(Exception):
    """A picture can not be drawn; the text is one line that says what to do."""


class Picture:
    """A picture at `path`, whose ending names the format; raises `PictureError` when it can not be drawn here."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._to_png: Any = None
        if path.suffix == ".png":
            try:
                self._to_png = import_module("resvg_py").svg_to_bytes
            except ImportError:
                raise PictureError("a .png needs resvg-py: pip install 'driftlock[png]', or name the file .svg") from None
        elif path.suffix != ".svg":
            raise PictureError("name the file .svg or .png")
        if not path.parent.is_dir():
            raise PictureError(f"there is no folder {path.parent}")

    def draw(self, streams: Sequence[tuple[str, ScoreSeries]], profile: Profile) -> None:
        """Write the scores of streams (name, series) with the profile's thresholds."""
        thresholds = Thresholds(profile.ncd_threshold, profile.p_value_threshold)
        self.write(plot([(name, series.points) for name, series in streams], thresholds))

    def write(self, svg: str) -> None:
        """Write what is drawn already."""
        data = svg.encode() if self._to_png is None else self._to_png(svg_string=svg, zoom=PNG_ZOOM)
        try:
            self._path.write_bytes(data)
        except OSError as error:
            raise PictureError(f"{self._path} can not be written: {error.strerror or error}") from None
