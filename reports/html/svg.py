"""A matplotlib figure as an SVG element that takes the text colour of its page and leaves nothing to the network."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from reports.html.markup import Html, esc

INK = "#010203"  # drawn in this colour, shown in the text colour of the page
SETTINGS: dict[str, Any] = {
    "text.parse_math": False,  # a name may hold a dollar sign
    "svg.hashsalt": "dlrm-kit",
    "svg.fonttype": "path",  # glyphs as shapes: no font is asked of the reader's machine
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.0,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "lines.linewidth": 1.8,
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@contextmanager
def drawing() -> Iterator[None]:
    """The settings that figures are made and written under; what was set before comes back."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)  # type: ignore[arg-type]  # the stubs want each key as a literal
        yield


def to_svg(figure: Figure, *, prefix: str, alt: str) -> Html:
    """The figure as one <svg> element; call it within :func:`drawing`.

    Parameters
    ----------
    figure : Figure
    prefix : str
        Put before every id, since the page holds several figures.
    alt : str
        What a reader who cannot see the figure is told.
    """
    target = io.StringIO()
    figure.savefig(target, format="svg", transparent=True, metadata=NO_METADATA)
    text = target.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-").replace(INK, "currentColor")
    text = re.sub(r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', _opening(alt), text)
    return Html(text)


def _opening(alt: str) -> str:
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    safe = esc(alt).replace("\\", r"\\")
    return rf'<svg {namespaces} viewBox="\1" role="img" aria-label="{safe}">'
