"""The most memory that a process has held, and memory that a host has taken away."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np


def fetch_memory(megabytes: int = 1500) -> float:
    """Touch memory and let go of it; return the seconds that it took.

    The host of a virtual machine may take back what has lain free for a few seconds. To get it
    again takes some seconds a GB, which says nothing of what is measured.
    """
    begun = time.perf_counter()
    np.zeros(megabytes << 20, np.uint8)[::4096] = 1
    return time.perf_counter() - begun


def peak_mb() -> float:
    """Return the largest resident size of this process so far, in MB.

    The kernel's `getrusage` counts what the parent had when it started this process;
    ``/proc/self/status`` does not, where there is one.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
