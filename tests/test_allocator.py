"""Memory that is freed: kept by programs for the next maps, unless the environment says otherwise."""

import os
import platform
import subprocess
import sys

import pytest

PAGES = """
import resource
import numpy as np
from nowcast.allocator import keep_freed_memory
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**23, np.float32)
before = faults()
for _ in range(8):
    np.ones(2**23, np.float32)
print((faults() - before) * resource.getpagesize() / 2**25)
"""


def fresh_maps(call: str, **environment: str) -> float:
    """How many of eight maps of 32 MiB, made and freed one after the other, came as fresh pages of the system."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    words = [sys.executable, "-c", PAGES.format(call=call)]
    return float(subprocess.run(words, env={**clean, **environment}, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what others do with freed memory is their own matter")
def test_maps_stand_in_the_memory_of_those_before_them() -> None:
    assert fresh_maps("") > 0.1  # with huge pages a fault brings many at once
    assert fresh_maps("keep_freed_memory()") < 0.1
    assert fresh_maps("keep_freed_memory()", MALLOC_MMAP_THRESHOLD_="65536") > 0.1
