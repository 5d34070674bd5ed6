"""Tests, in the folders of what they test."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # one core for each process, decided before torch is loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")
