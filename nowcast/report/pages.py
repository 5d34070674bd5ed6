"""What the HTML pages share: one template engine that escapes all it is given, style and scripts, and whole files."""

import os
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

SHARED = "nowcast.report"  # whose templates folder has what all pages use


def environment(package: str) -> Environment:
    """Templates of a package. What people wrote (names, configs, errors) is escaped; JSON holds no NaN."""
    made = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return made


@lru_cache
def own(package: str, name: str) -> Markup:
    """A style or script of ours, which must not be escaped."""
    return Markup(files(package).joinpath("templates", name).read_text("utf-8"))


def write_whole(text: str, page: Path) -> None:
    """Write a page whole or not at all."""
    part = page.with_name(f".{page.name}.{os.getpid()}.part")
    try:
        part.write_text(text, "utf-8")
        os.replace(part, page)
    finally:
        part.unlink(missing_ok=True)
