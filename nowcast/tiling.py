"""Domains of any size for any network: overlapping tiles, blended so that no seam shows."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise, product
from typing import Any

import torch
from einops import rearrange
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nowcast.contracts import Forecaster, InputError

__all__ = ["Tiled", "peak_memory", "seam_energy", "tiled"]

ALIGNED = 64  # tiles begin at multiples of this, so that a network's coarse grids lie as in the whole field
LEAST, LARGEST = 128, 4096
UNTILED = 512 * 512  # pixels that are never tiled unless asked for
GB = 1e9


class Tiled(Forecaster):
    """A forecaster of squares of one size as a forecaster of any domain.

    Tiles overlap by half their side at most. Across an overlap the outer quarter of each tile counts for nothing, as
    it suffers from the tile's border, and in the half between the weight passes from one tile to the other along a
    squared cosine; weights add up to one. So a network whose reach is at most a quarter of the overlap gives what it
    would give on the whole field. Where a tile is NaN the others count alone.

    Args:
        forecaster: that is given tiles.
        side: of the tiles, in pixels; a multiple of 64.
        overlap: of neighbours, in pixels; a multiple of 64.

    Raises:
        InputError: for sides that do not fit.
    """

    def __init__(self, forecaster: Forecaster, side: int, overlap: int | None = None) -> None:
        overlap = max(ALIGNED, side // 4 // ALIGNED * ALIGNED) if overlap is None else overlap
        if side % ALIGNED or overlap % ALIGNED or not 0 < overlap <= side // 2:
            raise InputError(
                f"tiles have a side and an overlap in multiples of {ALIGNED} pixels, the overlap at most half the "
                f"side, not {side} and {overlap}"
            )
        self.forecaster, self.side, self.overlap = forecaster, side, overlap
        self.name, self.past_frames = forecaster.name, forecaster.past_frames

    def describe(self) -> dict[str, str]:
        """That of the forecaster, and the tiles."""
        return {**self.forecaster.describe(), "tiles": f"{self.side} pixels, overlap {self.overlap}"}

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, C, H, W) mm/h."""
        return self._blended(past, lambda tile: self.forecaster.forecast(tile, steps))

    def ensemble(self, past: torch.Tensor, steps: int, members: int) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, members, steps, C, H, W) mm/h."""
        return self._blended(past, lambda tile: self.forecaster.ensemble(tile, steps, members))

    def quantile(self, past: torch.Tensor, steps: int, levels: Sequence[float]) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, K, C, H, W) mm/h."""
        return self._blended(past, lambda tile: self.forecaster.quantile(tile, steps, levels))

    def probability(self, past: torch.Tensor, steps: int, thresholds: Sequence[float]) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, K, C, H, W)."""
        return self._blended(past, lambda tile: self.forecaster.probability(tile, steps, thresholds))

    def _blended(self, past: torch.Tensor, call: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        height, width = past.shape[-2:]
        rows, columns = (places(length, self.side, self.overlap) for length in (height, width))
        down, across = (weights(length, self.side, self.overlap) for length in (height, width))
        total: torch.Tensor | None = None
        for (row, place_y), (column, place_x) in product(enumerate(rows), enumerate(columns)):
            made = call(past[..., place_y, place_x])
            known = alike(~made.isnan())
            if total is None:
                total = made.new_zeros(*made.shape[:-2], height, width)
                share = made.new_zeros(*known.shape[:-2], height, width)
            if known.shape[:-2].numel() > share.shape[:-2].numel():
                share = share.expand_as(total).clone()
            weight = rearrange(down[row], "h -> h 1") * across[column]
            total[..., place_y, place_x] += made.nan_to_num(nan=0.0) * weight
            share[..., place_y, place_x] += known * weight
        assert total is not None
        return total.div_(share)  # 0 / 0 is NaN, where no tile can say


def alike(known: torch.Tensor) -> torch.Tensor:
    """Where fields (B, …, H, W) are known: (B, 1, …, 1, H, W) if it is the same for all of a sample, else as it is.

    It nearly always is, and sums over a continent take half the memory.
    """
    fields = tuple(range(1, known.ndim - 2))
    every, some = known.amin(fields, keepdim=True), known.amax(fields, keepdim=True)
    return every if torch.equal(every, some) else known


def places(length: int, side: int, overlap: int) -> list[slice]:
    """Tiles of an axis, beginning at multiples of 64; the last overlaps more, rather than being small."""
    last = max(-(-(length - side) // ALIGNED) * ALIGNED, 0)
    begins = [*range(0, last, side - overlap), last]
    return [slice(begin, min(begin + side, length)) for begin in begins]


def weights(length: int, side: int, overlap: int) -> list[torch.Tensor]:
    """Weight of each tile of an axis at its pixels; at each pixel of the axis they add up to one."""
    tiles = places(length, side, overlap)
    total = torch.zeros(length, dtype=torch.float64)
    raw = []
    for tile in tiles:
        pixel = torch.arange(tile.start, tile.stop, dtype=torch.float64) + 0.5
        weight = torch.ones_like(pixel)
        for inside, is_border in ((pixel - tile.start, tile.start == 0), (tile.stop - pixel, tile.stop == length)):
            if not is_border:
                risen = ((inside - overlap / 4) / (overlap / 2)).clamp(0, 1)
                weight *= torch.sin(risen * torch.pi / 2) ** 2
        raw.append(weight)
        total[tile] += weight
    return [(weight / total[tile]).float() for weight, tile in zip(raw, tiles, strict=True)]


def tiled(forecaster: Forecaster, tile: str, shape: tuple[int, int], memory_gb: float) -> Forecaster:
    """A forecaster as it is, or around it one of tiles.

    Args:
        forecaster: a trained network; one that needs the whole field must not be tiled.
        tile: "none", "auto", or the side of the tiles in pixels.
        shape: (H, W) of the domain.
        memory_gb: what auto may take for one field and its tile.

    Raises:
        InputError: for another word, or where not even the smallest tile has room.
    """
    if tile == "none":
        return forecaster
    if tile != "auto":
        if not tile.isdigit():
            raise InputError(f"--tile is auto, none or a side in pixels such as 512, not {tile!r}")
        return Tiled(forecaster, int(tile)) if max(shape) > int(tile) else forecaster
    if shape[0] * shape[1] <= UNTILED:
        return forecaster
    side = largest_side(forecaster, memory_gb * GB, max(shape))
    return forecaster if side >= max(shape) else Tiled(forecaster, side)


def largest_side(forecaster: Forecaster, most: float, enough: int) -> int:
    """The greatest power of two, as side of a tile, with which a forecast of one step stays within `most` bytes.

    It is tried with growing tiles; what the next would take is foreseen from the growth so far.

    Args:
        forecaster: to be tried.
        most: bytes.
        enough: side beyond which none is needed.

    Raises:
        InputError: when the smallest takes more.
    """
    side, before = LEAST, 0.0
    while True:
        past = torch.zeros(1, forecaster.past_frames, 1, side, side)
        taken = peak_memory(partial(forecaster.forecast, past, 1))
        if taken > most:
            raise InputError(
                f"a tile of {side} pixels takes {taken / GB:.2g} GB, more than the {most / GB:.2g} GB allowed a "
                "forecast; give more --memory or a smaller --batch_size"
            )
        growth = max(taken / before, 4.0) if before else 4.0
        if taken * growth > most or side >= min(enough, LARGEST):
            return side
        side, before = 2 * side, taken


def peak_memory(call: Callable[[], Any]) -> int:
    """The most bytes that tensors made within a call hold at one time."""
    with torch.inference_mode(), _Alive() as alive:
        call()
    return alive.peak


class _Alive(TorchDispatchMode):
    """Looks after each operation which of the tensors made so far are still there."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count."""
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self._storages[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._storages = {key: kept for key, kept in self._storages.items() if not kept[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._storages.values()))
        return result


def seam_energy(field: torch.Tensor, side: int, overlap: int) -> float:
    """Mean squared difference of neighbouring pixels in the middle of overlaps as a multiple of that elsewhere.

    About 1 where no seam shows. Taken in both directions over all fields; NaN counts for nothing.

    Args:
        field: (…, H, W), of a forecast by tiles.
        side, overlap: of the tiles.
    """
    at, elsewhere = [], []
    for axis in (-2, -1):
        squared = field.diff(dim=axis).square().movedim(axis, -1).double()
        tiles = places(field.shape[axis], side, overlap)
        bands = torch.zeros(squared.shape[-1], dtype=torch.bool)
        for one, following in pairwise(tiles):
            middle, reach = (following.start + one.stop) // 2, (one.stop - following.start) // 4
            bands[middle - reach : middle + reach] = True
        at.append(squared[..., bands].flatten())
        elsewhere.append(squared[..., ~bands].flatten())
    return float(torch.cat(at).nanmean() / torch.cat(elsewhere).nanmean())
