"""Dense motion of rain from consecutive frames: pyramidal Lucas–Kanade, every pixel, every pair of frames at once.

Lucas and Kanade 1981, "An iterative image registration technique with an application to stereo vision", IJCAI; coarse
to fine as Bouguet 2001, "Pyramidal implementation of the affine Lucas Kanade feature tracker".
"""

import torch
from einops import reduce
from torch.nn import functional as F

from nowcast.contracts import InputError
from nowcast.motion.advection import read

__all__ = ["lucas_kanade"]

SMALLEST = 8  # pixels; a level is halved while its shorter side stays at least this
CELL = 2  # pixels of a level; motion is smoother than rain and is solved for on cells
CLEAR = 5.0  # times stiffness; a place with squared slopes of this much moves half as the rain around it


def lucas_kanade(
    frames: torch.Tensor,
    known: torch.Tensor | None = None,
    *,
    window: float = 10.0,
    stiffness: float = 1e-3,
    iterations: int = 1,
    finest: int = 1,
) -> torch.Tensor:
    """The steady motion that best explains all pairs of consecutive frames.

    On each level of a pyramid, from the map as a whole down, the motion u takes Gauss–Newton steps du with

        (G ∗ w ∇I ∇Iᵀ + stiffness) du = −G ∗ w ∇I ΔI + stiffness · (u_coarse − u)

    averaged over pairs of frames under a Gaussian window G. Of each pair, the first frame is carried half a step
    forward and the second half a step back, so that neither is blurred more. Stiffness ties u to the motion of the
    coarser level: that is what holds along straight edges, where one component cannot be seen. w is 0 where either
    frame is unobserved or outside the grid, and beside that. In the end dry air takes the motion of the rain around.

    Args:
        frames: (B, T, H, W), T ≥ 2, scaled (`nowcast.scaling`), finite.
        known: bool, same shape, which pixels were observed; None is all.
        window: standard deviation of G in pixels of each level.
        stiffness: squared scaled rain a pixel, as w ∇I ∇Iᵀ.
        iterations: steps on each level.
        finest: levels left out at the fine end: 1 works on half the resolution, which is faster and, for extrapolation
            over an hour, no worse.

    Returns:
        (B, 2, H, W), pixels a frame (down, right); 0 where all is dry, never NaN.

    Raises:
        InputError: with fewer than two frames.
    """
    if frames.shape[1] < 2:
        raise InputError(f"motion needs at least 2 frames, it was given {frames.shape[1]}")
    levels = _pyramid(frames, known)
    left_out = min(finest, len(levels) - 1)
    motion = _whole(*levels[-1], 2 * iterations, stiffness)
    for frames, weight in reversed(levels[left_out:]):
        if motion.shape[-2:] != frames.shape[-2:]:
            motion = 2 * _enlarge(motion, like=frames)
        motion, rain = _refine(frames, weight, motion, iterations, window, stiffness)
    motion = _spread(motion, rain)
    for frames, _ in reversed(levels[:left_out]):
        motion = 2 * _enlarge(motion, like=frames)
    return motion


def _whole(frames: torch.Tensor, weight: torch.Tensor, iterations: int, stiffness: float) -> torch.Tensor:
    """The one motion that fits the map as a whole best, at every pixel."""
    motion = torch.zeros_like(frames[:, :2])
    for _ in range(iterations):
        sums = reduce(_products(frames, weight, motion), "b n h w -> b n 1 1", "mean")
        motion = motion + _solve(sums, torch.zeros_like(sums[:, :2]), stiffness)
    return motion


def _refine(
    frames: torch.Tensor, weight: torch.Tensor, coarse: torch.Tensor, iterations: int, window: float, stiffness: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The motion of one level, from that of the coarser, and how much of each place is rain: (B, 1, H, W), 0 to 1."""
    motion = coarse
    for _ in range(iterations):
        sums = _blur(F.avg_pool2d(_products(frames, weight, motion), CELL, ceil_mode=True), window / CELL)
        pull = stiffness * F.avg_pool2d(coarse - motion, CELL, ceil_mode=True)
        motion = motion + _enlarge(_solve(sums, pull, stiffness), like=motion)
    slopes = sums[:, :1] + sums[:, 2:3]
    return motion, _enlarge(slopes / (slopes + CLEAR * stiffness), like=motion)


def _products(frames: torch.Tensor, weight: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """w ∇I ∇Iᵀ (down down, down right, right right) and w ∇I ΔI (down, right) averaged over pairs: (B, 5, H, W)."""
    first, second = read(frames[:, :-1], -motion / 2), read(frames[:, 1:], motion / 2)
    down, right = _slopes((first + second) / 2)
    change = second - first
    seen = read(weight[:, :-1], -motion / 2, "zeros") * read(weight[:, 1:], motion / 2, "zeros")
    pairs = ((down, down), (down, right), (right, right), (down, change), (right, change))
    return torch.stack([(seen * one * other).mean(dim=1) for one, other in pairs], dim=1)


def _solve(sums: torch.Tensor, pull: torch.Tensor, stiffness: float) -> torch.Tensor:
    """The 2×2 system of each place, from (B, 5, H, W) sums of products and what stiffness pulls with."""
    down_down, down_right, right_right, down_change, right_change = sums.unbind(1)
    down, right = pull[:, 0] - down_change, pull[:, 1] - right_change
    down_down, right_right = down_down + stiffness, right_right + stiffness
    solved = [right_right * down - down_right * right, down_down * right - down_right * down]
    return torch.stack(solved, dim=1) / (down_down * right_right - down_right.square()).unsqueeze(1)


def _pyramid(frames: torch.Tensor, known: torch.Tensor | None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Frames and the weights of their pixels on each level, finest first; beside unobserved pixels weights are 0."""
    cover = torch.ones_like(frames) if known is None else known.to(frames.dtype)
    frames = frames * cover
    levels = []
    while True:
        levels.append((frames, -F.max_pool2d(-cover, 3, stride=1, padding=1)))
        if min(frames.shape[-2:]) < 2 * SMALLEST:
            return levels
        below = F.avg_pool2d(cover, 2, ceil_mode=True)
        frames = F.avg_pool2d(frames * cover, 2, ceil_mode=True) / below.clamp_min(1e-6)
        cover = below


def _spread(motion: torch.Tensor, rain: torch.Tensor) -> torch.Tensor:
    """A motion where it rains, as (B, 1, H, W) from 0 to 1 says, and that of the rain around, near first, elsewhere."""
    if max(motion.shape[-2:]) == 1:
        return motion
    below = F.avg_pool2d(rain, 2, ceil_mode=True)
    around = _spread(F.avg_pool2d(rain * motion, 2, ceil_mode=True) / below.clamp_min(1e-12), below)
    return rain * motion + (1 - rain) * _enlarge(around, like=motion)


def _enlarge(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A map of half the size, halves rounded up, between its pixels."""
    height, width = like.shape[-2:]
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]


def _slopes(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Central differences downwards and to the right."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2, (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2


def _blur(x: torch.Tensor, deviation: float) -> torch.Tensor:
    """Gaussian blur of (B, N, H, W), cut at 2.5 standard deviations; beyond the edge nothing."""
    reach = int(2.5 * deviation + 0.5)
    places = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-places.square() / (2 * deviation**2))
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    x = F.conv2d(x, kernel.unsqueeze(-1), padding=(reach, 0), groups=x.shape[1])
    return F.conv2d(x, kernel.unsqueeze(-2), padding=(0, reach), groups=x.shape[1])
