# SPDX-License-Identifier: Apache-2.0
"""What a reader must know of the machine to trust a figure: its name, and what disturbed it meanwhile."""

import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

DISTURBED = 10  # per cent of all CPU time that others took: a figure beside more means little
BUSY = 0.25  # CPUs: more than what is left of a shell and of services at rest
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
USUAL_SPINS = "300000"  # GNU OpenMP's where nobody has chosen; `gatekern` alone would choose fewer


def make_all_wait_alike():
    """Of all programs that are started from now on: threads that wait spin as long."""
    if not any(os.environ.get(name) for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = USUAL_SPINS


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def busy_cpus(seconds=0.3):
    """How many are at work meanwhile, or taken by the hypervisor; None where the kernel does not say."""
    before = Disturbance.counters()
    time.sleep(seconds)
    spent = [now - then for then, now in zip(before, Disturbance.counters())]
    idle = sum(spent[3:5])  # the second waits for a disk
    return os.cpu_count() * (1 - idle / sum(spent)) if sum(spent) else None


def warn_of_load():
    """Before anything is measured. Threads that wait for each other spin: beside other work a small network may take
    many times as long, in whose row nothing tells."""
    busy = busy_cpus()
    if busy and busy > BUSY:
        print(f"warning: others keep {busy:.1f} of {os.cpu_count()} CPUs busy: beside them figures mean little, "
              "those of small networks nothing", file=sys.stderr)


def megahertz():
    return [float(f) for f in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", read("/proc/cpuinfo"), re.M)]


def commit():
    """Of the checkout that this file is in, with a + where files were changed; "" where it is none."""
    git = ["git", "-C", str(Path(__file__).resolve().parent)]
    try:
        answers = [subprocess.run([*git, *words], check=True, capture_output=True, text=True).stdout.strip()
                   for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))]
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answers[0] + ("+" if answers[1] else "")


def describe():
    text = read("/proc/cpuinfo")
    name = re.search(r"^model name\s*:\s*(.*)$", text, re.M)
    numbers = {key: re.search(rf"^{line}\s*:\s*(\d+)$", text, re.M)
               for key, line in (("family", "cpu family"), ("model", "model"))}
    return {"cpu": name.group(1) if name else platform.processor(), "cpus": os.cpu_count(),
            **{key: int(found.group(1)) for key, found in numbers.items() if found},
            "allowed_cpus": len(os.sched_getaffinity(0)), "architecture": platform.machine(),
            "commit": commit(), "kernel": platform.release(), "python": platform.python_version(),
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}


def name_of(description):
    """Of describe(): a virtual machine's CPU may have a name that says less than its family and model."""
    numbers = " ".join(f"{key} {description[key]}" for key in ("family", "model") if key in description)
    return ", ".join(filter(None, (description.get("cpu"), numbers)))


def text_of_build(version, compiler, description):
    """Of Gatekern: what is known of its version and compiler, and of the commit of what measured it; description: of
    describe()."""
    commit_text = f"scripts of commit {description['commit']}" if description.get("commit") else ""
    return ", ".join(filter(None, (version, compiler, commit_text)))


TAKERS = [("steal", "steal_percent"), ("others", "others_percent")]  # in what Disturbance.report() says


def text_of_taken(line, more_than=-1):
    """The shares of all CPU time that the hypervisor and other programs took, those above `more_than` per cent; "" if
    there is none, or none is known."""
    return ", ".join(f"{name} {line[key]} %" for name, key in TAKERS
                     if line.get(key) is not None and line[key] > more_than)


def marks_of_disturbance(line):
    """Of a figure beside which others took so much that it means little; else none."""
    taken = text_of_taken(line, DISTURBED)
    return [f"DISTURBED: {taken} of all CPU time"] if taken else []


def own_ticks():
    """CPU time of this process and of all that it has started, in ticks."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        fields = read(path).rpartition(")")[2].split()
        if len(fields) > 14:  # after state: parent ... user, system, and those of children that were waited for
            parents[int(path.parent.name)] = int(fields[1])
            ticks[int(path.parent.name)] = sum(map(int, fields[11:15]))

    def is_own(process):
        return process == os.getpid() or (process in parents and is_own(parents[process]))

    return sum(spent for process, spent in ticks.items() if is_own(process))


class Disturbance:
    """The shares of all CPU time that the hypervisor and other programs took, the clock, the load: from its creation to
    report(), without the time from a pause() to the next resume()."""

    def __init__(self):
        self.spent, self.own, self.clocks = [0] * 8, 0, []
        self.resume()

    def resume(self):
        self.before, self.own_before, self.running = self.counters(), own_ticks(), True
        self.sample()

    def pause(self):
        self.spent = [sum(ticks) for ticks in zip(self.spent, self.counters(), (-t for t in self.before))]
        self.own += own_ticks() - self.own_before
        self.running = False
        self.sample()

    @staticmethod
    def counters():
        line = read("/proc/stat").split("\n", 1)[0].split()[1:9]  # user ... steal, in ticks
        return [int(ticks) for ticks in line]

    def sample(self):
        self.clocks += megahertz()

    def report(self):
        if self.running:
            self.pause()
            self.resume()
        total = sum(self.spent)
        known = total and len(self.spent) > 7
        busy = total - sum(self.spent[3:5]) - self.spent[7] if known else 0
        report = {"steal_percent": round(100 * self.spent[7] / total, 2) if known else None,
                  "others_percent": round(100 * max(0, busy - self.own) / total, 1) if known else None,
                  "load": round(os.getloadavg()[0], 2)}
        if self.clocks:
            report["megahertz"] = [round(min(self.clocks)), round(max(self.clocks))]
        return report
