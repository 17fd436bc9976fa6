# SPDX-License-Identifier: Apache-2.0
"""What plot-training and plot-gradient-flow share: where the picture goes, and matplotlib, which is asked for only
where something is drawn: neither --help nor a wrong argument needs it."""
from pathlib import Path

FORMATS = (".svg", ".png", ".pdf")


def fail(parser, message, status=2):
    parser.exit(status, f"{parser.prog}: {message}\n")


def check_name(parser, name):
    """A picture's name that was forgotten is a log's, which must not be overwritten."""
    if Path(name).suffix.lower() not in FORMATS:
        fail(parser, f"{name}: a picture's name ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")


def pyplot(parser):
    try:
        import matplotlib
    except ImportError:
        fail(parser, "needs matplotlib: Debian's python3-matplotlib, or pip", 1)
    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    return plt


def save(parser, figure, name):
    """An SVG without its date: the same figures are the same file."""
    figure.patch.set_facecolor("white")
    figure.tight_layout()
    try:
        figure.savefig(name, metadata={"Date": None} if Path(name).suffix.lower() == ".svg" else None)
    except OSError as error:
        fail(parser, f"{name}: {error.strerror}")
