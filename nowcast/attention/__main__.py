"""Print the attention library as a table, one mechanism of it (NAME), or docs/attention.md (--markdown)."""

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby

from rich.console import Console, Group
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from nowcast import attention
from nowcast.attention._card import Info
from nowcast.contracts import InputError

PAGE_COMMAND = "python -m nowcast.attention --markdown > docs/attention.md"

PAGE_HEAD = f"""\
# The attention library

<!-- Written by `{PAGE_COMMAND}`; edit the cards in nowcast/attention/ instead. -->

Every mechanism is built from a number of channels and named options, and turns (B, C, H, W) into (B, C, H, W)
for any height and width; where a row says so it takes sequences (B, T, C, H, W). In formulas x is the
input, y the output, ⊙ a broadcast product, σ the sigmoid, δ ReLU, GAP and GMP the mean and maximum over
positions, N = H·W. Parameters are counted at C = 64 under the default options.

```python
from nowcast import attention

attention.create("se", 64, reduction=8)  # by name, with options
attention.create(["eca", "cbam"], 64)  # one after the other
attention.create({{"parallel": ["se", "eca"], "fuse": "sum"}}, 64)  # side by side; or fuse: concat
attention.create({{"residual": "cbam"}}, 64)  # x + γ·cbam(x), γ learnt from 0
attention.info("cbam")  # what this page says of it
```

The same is written in configs (`attention: {{name: se, reduction: 8}}`), and `python -m nowcast.attention
NAME` shows one mechanism with the meaning of its options.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what the command line asks for."""
    parser = argparse.ArgumentParser("python -m nowcast.attention", description=__doc__)
    parser.add_argument("name", nargs="?", metavar="NAME", help="show this mechanism alone, with its options")
    parser.add_argument("--markdown", action="store_true", help="write the documentation page instead")
    asked = parser.parse_args(arguments)
    if asked.markdown:
        print(page(), end="")
        return
    console = Console(width=None if sys.stdout.isatty() else 220)
    try:
        console.print(one(attention.info(asked.name)) if asked.name else everything())
    except InputError as error:
        parser.error(str(error))


def by_family() -> list[tuple[str, list[Info]]]:
    """All mechanisms, family by family."""
    cards = sorted(map(attention.info, attention.names()), key=lambda info: (info.family, info.name))
    return [(family, list(members)) for family, members in groupby(cards, key=lambda info: info.family)]


def everything() -> Table:
    """One row a mechanism."""
    table = Table("name", "family", "paper", "year", "source", header_style="bold")
    table.add_column("params at C=64", justify="right")
    for heading in ("time", "equation"):
        table.add_column(heading, ratio=1 if heading == "equation" else None)
    for family, members in by_family():
        for info in members:
            authors = info.paper.split(",")[0]
            row = (info.name, family, authors, str(info.year), info.source, f"{info.parameters:,}", info.time)
            table.add_row(*map(escape, (*row, info.equation)))
        table.add_section()
    return table


def one(info: Info) -> Group:
    """The whole card of a mechanism and the docstring of its class, which explains the options."""
    facts = {
        "family": info.family,
        "paper": info.paper,
        "source": f"{location(info)} ({info.year})",
        "equation": info.equation,
        "shape": info.shape,
        "time": info.time,
        "memory": info.memory,
        "parameters": f"{info.parameters:,} at C=64",
        "options": options(info),
        "note": info.note,
    }
    table = Table(title=info.name, title_justify="left", show_header=False, box=None)
    for fact, text in facts.items():
        if text:
            table.add_row(f"[bold]{fact}", escape(text))
    return Group(table, Padding(escape(info.description), (1, 0, 0, 1), expand=False))


def page() -> str:
    """The documentation of all mechanisms in Markdown."""
    sections = [PAGE_HEAD]
    for family, members in by_family():
        sections.append(f"\n## {family.capitalize()}\n\n")
        sections.append("| name | paper | computes | parameters | time | memory | options and their defaults |\n")
        sections.append("|---|---|---|---|---|---|---|\n")
        sections.extend(markdown_row(info) for info in members)
    return "".join(sections)


def markdown_row(info: Info) -> str:
    """One line of a family's table."""
    sequences = f"takes sequences ({info.shape})." if info.shape != "BCHW" else ""
    cells = (
        f"`{info.name}`",
        f"{info.paper}, {info.year}, {location(info)}",
        " ".join(filter(None, (f"`{info.equation}`", sequences, info.note))),
        f"{info.parameters:,}",
        info.time,
        info.memory,
        f"`{options(info)}`" if info.options else "none",
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def options(info: Info) -> str:
    """Options as they would be written in a call."""
    return ", ".join(f"{name}={default!r}" for name, default in info.options.items())


def location(info: Info) -> str:
    """Where the paper is: a link for arXiv ids and DOIs, else the venue."""
    if info.source[:4].isdigit() and info.source[4:5] == ".":
        return f"https://arxiv.org/abs/{info.source}"
    return f"https://doi.org/{info.source}" if info.source.startswith("10.") else info.source


if __name__ == "__main__":
    main()
