"""Smooth rain whose motion is known exactly: Gaussian cells that keep their shape."""

from collections.abc import Callable

import torch

Place = tuple[torch.Tensor, torch.Tensor]


def cells(
    place: Callable[[torch.Tensor, torch.Tensor, int], Place],
    frames: int = 4,
    height: int = 96,
    width: int = 112,
    size: float = 4.0,
    seed: int = 0,
) -> torch.Tensor:
    """(1, frames, height, width), scaled, about half of it dry.

    Args:
        place: rows and columns of cells in frame k, from those in frame 0.
        frames, height, width: lengths.
        size: standard deviation of a cell in pixels.
        seed: of where cells are.
    """
    random = torch.Generator().manual_seed(seed)
    count = height * width // 60
    rows = (torch.rand(count, generator=random) * 1.6 - 0.3) * height
    columns = (torch.rand(count, generator=random) * 1.6 - 0.3) * width
    strength = torch.rand(count, generator=random)
    y, x = torch.arange(height)[:, None], torch.arange(width)
    sky = []
    for frame in range(frames):
        row, column = (here[:, None, None] for here in place(rows, columns, frame))
        sky.append((strength[:, None, None] * torch.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * size**2))).sum(0))
    rain = torch.stack(sky)
    return ((rain - rain.median()).clamp_min(0) / rain.std())[None]


def moving(down: float, right: float, **options: float) -> torch.Tensor:
    """Rain moving by (down, right) pixels a frame."""
    return cells(lambda rows, columns, frame: (rows + down * frame, columns + right * frame), **options)
