"""A benchmark's folder as one HTML page that needs nothing else: it opens from disk, offline, on a phone as well.

>>> write_report("runs/benchmark/quick")
PosixPath('runs/benchmark/quick/report/index.html')
"""

from nowcast.report.html.page import write_report

__all__ = ["write_report"]
