# SPDX-License-Identifier: Apache-2.0
"""What a reader must know of the machine to trust a figure: its name, and what disturbed it meanwhile."""

import os
import platform
import re
import time


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def megahertz():
    return [float(f) for f in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", read("/proc/cpuinfo"), re.M)]


def describe():
    name = re.search(r"^model name\s*:\s*(.*)$", read("/proc/cpuinfo"), re.M)
    return {"cpu": name.group(1) if name else platform.processor(), "cpus": os.cpu_count(),
            "allowed_cpus": len(os.sched_getaffinity(0)), "architecture": platform.machine(),
            "kernel": platform.release(), "python": platform.python_version(),
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}


class Disturbance:
    """From its creation to report(): the share of all CPU time that the hypervisor took, the clock, the load."""

    def __init__(self):
        self.before, self.clocks = self.counters(), megahertz()

    @staticmethod
    def counters():
        line = read("/proc/stat").split("\n", 1)[0].split()[1:9]  # user ... steal, in ticks
        return [int(ticks) for ticks in line]

    def sample(self):
        self.clocks += megahertz()

    def report(self):
        self.sample()
        spent = [now - then for now, then in zip(self.counters(), self.before)]
        total = sum(spent)
        report = {"steal_percent": round(100 * spent[7] / total, 2) if total and len(spent) > 7 else None,
                  "load": round(os.getloadavg()[0], 2)}
        if self.clocks:
            report["megahertz"] = [round(min(self.clocks)), round(max(self.clocks))]
        return report
