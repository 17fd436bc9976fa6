# SPDX-License-Identifier: Apache-2.0
"""What the scripts that compare share: options and their limits, what they write, how the user stops them."""

import ctypes
import os
import shutil
import sys
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "build"
SECONDS = (0.001, 3600)  # of one measurement
STOPPED = 130  # exit status after Ctrl-C


def add_options(parser, rounds, seconds):
    """Those of every comparison."""
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=float, default=seconds, help="of each measurement")
    parser.add_argument("--patience", type=float, default=600, metavar="SECONDS",
                        help="how long a peer may take to answer before it is left out of a row")
    parser.add_argument("--library", default=os.environ.get("GATEKERN_LIBRARY", str(BUILD / "libgatekern.so")))
    parser.add_argument("--out", help="JSON lines, which bench/report.py --peers reads")


def check_numbers(options):
    """ValueError: one is out of its limits. Options that the script does not have, or that are None, are not looked
    at."""
    def given(*names):
        return [(f"--{name.replace('_', '-')}", getattr(options, name)) for name in names
                if getattr(options, name, None) is not None]
    for name, value in given("rounds", "threads", "training_steps"):
        if value < 1:
            raise ValueError(f"{name} is {value}, must be at least 1")
    for name, value in given("seconds"):
        if not SECONDS[0] <= value <= SECONDS[1]:
            raise ValueError(f"{name} is {value:g}, must be from {SECONDS[0]} to {SECONDS[1]}")
    for name, value in given("patience"):
        if not value > 0:
            raise ValueError(f"{name} is {value:g}, must be above 0")


def check_files(options):
    """ValueError: there is no such program or library, or it is none of Gatekern's."""
    if not shutil.which(options.program):
        raise ValueError(f"no program {options.program}")
    if not Path(options.library).is_file():
        raise ValueError(f"--library: no file {options.library}")
    try:
        ctypes.CDLL(str(Path(options.library).resolve())).gk_version
    except (AttributeError, OSError) as error:
        raise ValueError(f"--library: {error}") from error


def write(path, text, mode="a"):
    """Nothing without a path; OSError: it cannot be written."""
    if path:
        with open(path, mode) as file:
            file.write(text)


def markdown_cell(text):
    """In a table, which a line's end or a bar would end."""
    return " ".join(str(text).split()).replace("|", r"\|")


def run(main):
    """Exits with its status."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: stopped by the user", file=sys.stderr)
        sys.exit(STOPPED)
