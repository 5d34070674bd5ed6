"""How programs keep memory that is freed, on systems with the GNU C library.

By itself it hands large maps back to the system as soon as they are freed, and the next ones come as fresh pages that
the system has to clear first; a network makes and frees dozens of such maps a forecast.
"""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
LARGEST_KEPT = 2**26 - 1  # bytes of a map; larger ones are few, and would leave gaps
MOST_KEPT = 2**28  # bytes that are free
OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """Keep what is freed for the next maps, in this process and until it ends, unless the environment says otherwise.

    Does nothing with other C libraries.
    """
    if any(name in os.environ for name in OF_THE_USER):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(M_MMAP_THRESHOLD, LARGEST_KEPT)
        set_option(M_TRIM_THRESHOLD, MOST_KEPT)
