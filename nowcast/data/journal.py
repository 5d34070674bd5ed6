"""What an ingest has done so far, a line of JSON a file, so that another can go on where it was stopped."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Entry:
    """What came of a file.

    Args:
        file: its absolute path.
        times: of the frames that were written, seconds since 1970, in the order in which they were.
        present: frames that the archive had already.
        refused: what was wrong with it or with frames of it.
    """

    file: str
    times: list[int] = field(default_factory=list)
    present: int = 0
    refused: list[str] = field(default_factory=list)


class Journal:
    """A file of a header and entries. A line that a killed process did not finish does not count.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, header: Mapping[str, Any]) -> None:
        """Start anew with a header."""
        self._write("w", header)

    def add(self, entry: Entry) -> None:
        """Add what came of a file."""
        self._write("a", asdict(entry))

    def read(self) -> tuple[dict[str, Any], list[Entry]] | None:
        """Header and entries, or None when there is not even a header. Takes an unfinished line away."""
        if not self.path.exists():
            return None
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            self.path.write_bytes(whole)
        lines = whole.decode().splitlines()
        return (json.loads(lines[0]), [Entry(**json.loads(line)) for line in lines[1:]]) if lines else None

    def _write(self, mode: str, content: Mapping[str, Any]) -> None:
        with open(self.path, mode) as file:
            file.write(json.dumps(content) + "\n")
