"""Memory that is freed: kept by programs for the next maps, unless the environment says otherwise."""

import os
import platform
import subprocess
import sys

import pytest

PAGES = """
import ctypes
import resource
import numpy as np
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # no huge pages, of which one fault brings many
from nowcast.allocator import keep_freed_memory
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(12 * 2**20, np.float32)
before = faults()
for _ in range(8):
    np.ones(12 * 2**20, np.float32)
print((faults() - before) * resource.getpagesize() / (48 * 2**20))
"""


def fresh_maps(call: str, **environment: str) -> float:
    """How many of eight maps of 48 MiB, made and freed one after the other, came as fresh pages of the system."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    words = [sys.executable, "-c", PAGES.format(call=call)]
    return float(subprocess.run(words, env={**clean, **environment}, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what others do with freed memory is their own matter")
def test_maps_stand_in_the_memory_of_those_before_them() -> None:
    assert fresh_maps("") > 7
    assert fresh_maps("keep_freed_memory()") < 1
    assert fresh_maps("keep_freed_memory()", MALLOC_MMAP_THRESHOLD_="65536") > 7
