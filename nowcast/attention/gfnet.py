"""Global filter: every wavelength of every channel multiplied by a learnt complex number.

Rao, Zhao, Zhu, Lu and Zhou 2021, arXiv 2107.00645.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._precision import at_least_single
from nowcast.attention._size import rows_and_columns

__all__ = ["GlobalFilter"]

CARD = Card(
    family="frequency",
    paper="Rao et al., Global Filter Networks for Image Classification",
    source="2107.00645",
    year=2021,
    equation="y = irfft2(rfft2(x) ⊙ K)",
    time="O(CN log N)",
    memory="O(CN)",
    note="K belongs to one map size and is interpolated to others at equal wavelength in pixels. The filter "
    "wraps around the borders as in the paper; circular=False pads with zeros instead.",
)


def sampled(table: torch.Tensor, positions: torch.Tensor, axis: int) -> torch.Tensor:
    """Values of a table between its entries, linear along one axis; after the last entry comes the first."""
    below = positions.floor()
    share = (positions - below).reshape([-1 if other == axis else 1 for other in range(table.ndim)])
    lower, upper = (table.index_select(axis, (below.long() + step) % table.shape[axis]) for step in (0, 1))
    return lower + share * (upper - lower)


class GlobalFilter(nn.Module):
    """Convolve each channel with a learnt filter as large as the map: y = irfft2(rfft2(x) ⊙ K).

    (B, C, H, W) → (B, C, H, W). K is learnt for maps of one size. On a map of another size its real and
    imaginary parts are interpolated bilinearly between frequencies in cycles per pixel, so that a wave of
    some length in pixels is treated alike on maps of all sizes.

    Args:
        channels: C.
        size: rows and columns (h, w) of the map that K is learnt for, 14 × 14 in the paper; K has
            h × (w//2 + 1) complex numbers a channel.
        circular: whether the filter wraps around the borders, as in the paper; else rain that leaves at one
            border does not come back at the other, for four times the work.

    Raises:
        InputError: for a size that is not two positive numbers.
    """

    def __init__(self, channels: int, *, size: Sequence[int] = (14, 14), circular: bool = True) -> None:
        super().__init__()
        self.height, self.width = rows_and_columns("gfnet", size)
        self.circular = circular
        self.filter = nn.Parameter(0.02 * torch.randn(self.height, self.width // 2 + 1, channels, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        rows, columns = (height, width) if self.circular else (2 * height, 2 * width)
        spectrum = torch.fft.rfft2(at_least_single(x), s=(rows, columns), norm="ortho")
        y = torch.fft.irfft2(spectrum * self._transfer(rows, columns), s=(rows, columns), norm="ortho")
        return y[:, :, :height, :width].to(x.dtype)

    def _transfer(self, rows: int, columns: int) -> torch.Tensor:
        """K for maps of this size, (C, rows, columns//2 + 1), complex."""
        learnt = at_least_single(self.filter)
        # Frequency k of n is k/n cycles per pixel; rows go on to the negative frequencies, columns do not.
        down = torch.arange(rows, device=learnt.device, dtype=learnt.dtype) * self.height / rows
        right = torch.arange(columns // 2 + 1, device=learnt.device, dtype=learnt.dtype) * self.width / columns
        right = right.clamp_max(self.width // 2)
        table = sampled(sampled(learnt, down, axis=0), right, axis=1)
        return torch.view_as_complex(rearrange(table, "h w c part -> c h w part").contiguous())
