"""Dense Lucas–Kanade of one level, written with loops over pixels and cells."""

import itertools
import math

import numpy as np


def flow_by_hand(frames: np.ndarray, window: float, stiffness: float) -> np.ndarray:
    """(T, H, W) → (2, H, W): the map as a whole in two steps, each cell of 2×2 pixels in its window, dry air filled."""
    height, width = frames.shape[1:]
    motion = np.zeros((2, height, width))
    for _ in range(2):
        matrix, side = equations(frames, motion)
        step = np.linalg.solve(matrix.mean((2, 3)) + stiffness * np.eye(2), side.mean((1, 2)))
        motion = motion + step[:, None, None]
    matrix, side = equations(frames, motion)
    matrix, side = (weighted(halve(x), window / 2) for x in (matrix, side))
    steps, slopes = np.zeros_like(side), np.zeros_like(side[:1])
    for row, column in np.ndindex(side.shape[1:]):
        here = matrix[:, :, row, column]
        steps[:, row, column] = np.linalg.solve(here + stiffness * np.eye(2), side[:, row, column])
        slopes[0, row, column] = np.trace(here)
    motion = motion + double(steps, height, width)
    return spread(motion, double(slopes / (slopes + 5 * stiffness), height, width))


def equations(frames: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrices (2, 2, H, W) and right sides (2, H, W) of each pixel, averaged over pairs."""
    height, width = frames.shape[1:]
    ones = np.ones((height, width))
    matrix, side = np.zeros((2, 2, height, width)), np.zeros((2, height, width))
    for earlier, later in itertools.pairwise(frames):
        first, second = shifted(earlier, -motion / 2), shifted(later, motion / 2)
        cover = shifted(ones, -motion / 2, nothing_beyond=True) * shifted(ones, motion / 2, nothing_beyond=True)
        padded = np.pad((first + second) / 2, 1, mode="edge")
        slope = np.stack([padded[2:, 1:-1] - padded[:-2, 1:-1], padded[1:-1, 2:] - padded[1:-1, :-2]]) / 2
        matrix += cover * slope[:, None] * slope[None] / (len(frames) - 1)
        side -= cover * slope * (second - first) / (len(frames) - 1)
    return matrix, side


def shifted(field: np.ndarray, offset: np.ndarray, nothing_beyond: bool = False) -> np.ndarray:
    """Each pixel read at its place plus an offset (2, H, W), from the four pixels around that."""
    height, width = field.shape
    result = np.zeros(field.shape)
    for row, column in np.ndindex(field.shape):
        down, right = row + offset[0, row, column], column + offset[1, row, column]
        if not nothing_beyond:
            down, right = min(max(down, 0), height - 1), min(max(right, 0), width - 1)
        for r in (math.floor(down), math.floor(down) + 1):
            for c in (math.floor(right), math.floor(right) + 1):
                if 0 <= r < height and 0 <= c < width:
                    result[row, column] += (1 - abs(r - down)) * (1 - abs(c - right)) * field[r, c]
    return result


def weighted(cells: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian mean of the cells around each, cut at 2.5 standard deviations; beyond the edge is nothing."""
    reach = round(2.5 * deviation)
    kernel = np.array([math.exp(-(k**2) / (2 * deviation**2)) for k in range(-reach, reach + 1)])
    kernel /= kernel.sum()
    rows, columns = cells.shape[-2:]
    result = np.zeros(cells.shape)
    for row, column in np.ndindex(rows, columns):
        for r, c in np.ndindex(rows, columns):
            if max(abs(r - row), abs(c - column)) <= reach:
                result[..., row, column] += kernel[r - row + reach] * kernel[c - column + reach] * cells[..., r, c]
    return result


def spread(motion: np.ndarray, rain: np.ndarray) -> np.ndarray:
    """Where there is no rain, mixed with the mean motion of rain in 2×2 pixels, that with that in 4×4, and so on."""
    height, width = motion.shape[1:]
    if height == width == 1:
        return motion
    around = spread(halve(rain * motion) / halve(rain), halve(rain))
    return rain * motion + (1 - rain) * double(around, height, width)


def halve(x: np.ndarray) -> np.ndarray:
    """Means of 2×2 pixels, of fewer at the far edges of odd sizes."""
    height, width = x.shape[-2:]
    result = np.zeros((*x.shape[:-2], -(-height // 2), -(-width // 2)))
    for row, column in np.ndindex(result.shape[-2:]):
        result[..., row, column] = x[..., 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean((-2, -1))
    return result


def double(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Values at pixels, linear between the centres of cells of 2×2."""
    result = np.zeros((len(x), height, width))
    for row, column in np.ndindex(height, width):
        down = min(max(row / 2 - 0.25, 0), x.shape[1] - 1)
        right = min(max(column / 2 - 0.25, 0), x.shape[2] - 1)
        for r, c in np.ndindex(x.shape[1:]):
            result[:, row, column] += max(1 - abs(r - down), 0) * max(1 - abs(c - right), 0) * x[:, r, c]
    return result
