"""Sample forecasts of a training as one picture or as a film: observed above forecast, the same cases each time.

Made of pixels and not of figures, because it is done after every epoch: some thirty times as fast as
`nowcast.report.maps.plot_case`, which has axes in km.
"""

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nowcast.report.maps import RATES, Case
from nowcast.report.pixels import INK, PALETTE, PAPER, indexed, with_palette

PANEL = 224  # pixels, of the longer side at most
GAP, LINE = 6, 16
FRAME_MS, PAUSE_MS = 350, 1500


def write_sheet(cases: Sequence[Case], title: str, path: str | os.PathLike, columns: int = 4) -> None:
    """Write a PNG: for each case a row of observed frames above one of the forecast, at some lead times.

    Args:
        cases: with one forecast each.
        title: first line.
        path: of the PNG; written whole or not at all.
        columns: lead times, evenly spread with the last one among them.
    """
    blocks = []
    for case in map(cropped, cases):
        steps = len(case.observed)
        frames = [round((k + 1) * steps / columns) - 1 for k in range(columns)] if steps > columns else range(steps)
        (forecast,) = case.forecasts.values()
        heads = [f"+{(frame + 1) * case.step_minutes:g} min" for frame in frames]
        rows = [[_panel(field[frame]) for frame in frames] for field in (case.observed, forecast)]
        blocks.append(_grid(rows, ("observed", "forecast"), heads, _name(case)))
    _save(_stack([_words(title), *blocks, _legend()]), Path(path))


def write_film(cases: Sequence[Case], title: str, path: str | os.PathLike) -> None:
    """Write a GIF that runs from the first past to the last future frame: observed above forecast, a column a case.

    Args:
        cases: with one forecast each and as many frames.
        title: first line.
        path: of the GIF; written whole or not at all.
    """
    frames = []
    cases = [cropped(case) for case in cases]
    past, steps = len(cases[0].past), len(cases[0].observed)
    for time in range(1 - past, steps + 1):
        fields = [
            [case.past[time - 1 + past]] * 2
            if time <= 0
            else [case.observed[time - 1], *(forecast[time - 1] for forecast in case.forecasts.values())]
            for case in cases
        ]
        rows = [[_panel(pair[row]) for pair in fields] for row in (0, 1)]
        clock = f"{title}, {time * cases[0].step_minutes:+g} min" + (", past" if time <= 0 else "")
        heads = [_name(case) for case in cases]
        frames.append(_stack([_words(clock), _grid(rows, ("observed", "forecast"), heads), _legend()]))
    size = (max(frame.width for frame in frames), frames[0].height)
    frames = [_on(frame, size) for frame in frames]
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    pauses = [FRAME_MS] * (len(frames) - 1) + [PAUSE_MS]
    frames[0].save(part, "gif", save_all=True, append_images=frames[1:], duration=pauses, loop=0, optimize=False)
    os.replace(part, path)


def cropped(case: Case) -> Case:
    """The rectangle of a case in which anything is observed at any time, or all of it where nothing is."""
    known = np.isfinite(np.concatenate([case.past, case.observed])).any(axis=0)
    if not known.any():
        return case
    places = [np.flatnonzero(known.any(axis=axis)) for axis in (1, 0)]
    box = (slice(None), *(slice(place[0], place[-1] + 1) for place in places))
    forecasts = {name: forecast[box] for name, forecast in case.forecasts.items()}
    return replace(case, past=case.past[box], observed=case.observed[box], forecasts=forecasts)


def _panel(rate: np.ndarray) -> Image.Image:
    """A field at about PANEL pixels: larger ones as means of observed pixels in blocks, smaller ones magnified."""
    shrink = -(-max(rate.shape) // PANEL)
    if shrink > 1:
        rate = _block_means(rate, shrink)
    grow = max(PANEL // max(rate.shape), 1)
    image = indexed(rate)
    return image.resize((grow * image.width, grow * image.height), Image.Resampling.NEAREST)


def _block_means(rate: np.ndarray, side: int) -> np.ndarray:
    """Means over what is observed of side × side pixels, NaN where nothing is; blocks over the edge are cut off."""
    rate = np.pad(rate, [(0, -length % side) for length in rate.shape], constant_values=np.nan)
    # Every side-th pixel at a time, which is several times as fast as sums over the axes of blocks.
    total, seen = np.zeros((2, rate.shape[0] // side, rate.shape[1] // side), np.float32)
    for down, right in itertools.product(range(side), repeat=2):
        part = rate[down::side, right::side]
        known = np.isfinite(part)
        total += np.where(known, part, 0)
        seen += known
    return np.where(seen > 0, total / np.maximum(seen, 1), np.nan)


def _grid(
    rows: Sequence[Sequence[Image.Image]], names: Sequence[str], heads: Sequence[str], title: str = ""
) -> Image.Image:
    """Panels in rows with names at the side, heads above each column and a title above all."""
    font = ImageFont.load_default(11)
    side = max(round(font.getlength(name)) for name in names) + GAP
    width = max(panel.width for row in rows for panel in row) + GAP
    height = max(panel.height for row in rows for panel in row) + GAP
    top = (LINE if title else 0) + LINE
    room = max(round(font.getlength(title)) + GAP, side + width * len(rows[0]) + GAP)
    image = _paper(room, top + height * len(rows))
    draw = ImageDraw.Draw(image)
    draw.text((GAP, 1), title, INK, font=font)
    for column, head in enumerate(heads):
        short = head
        while len(short) > 1 and font.getlength(short) > width - GAP:
            short = f"{short.removesuffix('...')[:-1]}..."
        draw.text((side + GAP + column * width, top - LINE + 1), short, INK, font=font)
    for line, (name, panels) in enumerate(zip(names, rows, strict=True)):
        draw.text((GAP, top + line * height), name, INK, font=font)
        for column, panel in enumerate(panels):
            corner = (side + GAP + column * width, top + line * height)
            image.paste(panel, corner)
            draw.rectangle(
                (corner[0] - 1, corner[1] - 1, corner[0] + panel.width, corner[1] + panel.height), outline=INK
            )
    return image


def _legend() -> Image.Image:
    """The colours with the rates between them."""
    box, font = 36, ImageFont.load_default(10)
    image = _paper(box * len(PALETTE) + 90, 2 * LINE)
    draw = ImageDraw.Draw(image)
    for place in range(len(PALETTE)):
        left = GAP + place * box + (50 if place == len(PALETTE) - 1 else 0)
        draw.rectangle((left, 2, left + box, LINE - 4), fill=place, outline=INK)
        if 0 < place <= len(RATES):
            label = f"{RATES[place - 1]:g}"
            draw.text((left - font.getlength(label) / 2, LINE), label, INK, font=font)
    draw.text((GAP + box * (len(PALETTE) - 1) + 4, 0), "mm/h", INK, font=font)
    draw.text((left, LINE), "no radar", INK, font=font)
    return image


def _words(text: str) -> Image.Image:
    font = ImageFont.load_default(13)
    image = _paper(round(font.getlength(text)) + 2 * GAP, LINE + GAP)
    ImageDraw.Draw(image).text((GAP, 3), text, INK, font=font)
    return image


def _stack(parts: Sequence[Image.Image]) -> Image.Image:
    image = _paper(max(part.width for part in parts), sum(part.height for part in parts))
    top = 0
    for part in parts:
        image.paste(part, (0, top))
        top += part.height
    return image


def _on(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    paper = _paper(*size)
    paper.paste(image, (0, 0))
    return paper


def _paper(width: int, height: int) -> Image.Image:
    return with_palette(Image.new("L", (width, height), PAPER))


def _name(case: Case) -> str:
    return f"{case.title}, {str(case.start.astype('datetime64[m]')).replace('T', ' ')} UTC"


def _save(image: Image.Image, path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    image.save(part, "png", bits=4)
    os.replace(part, path)
