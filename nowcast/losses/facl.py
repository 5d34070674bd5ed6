"""Fourier amplitude and correlation loss: sharp fields without a generator.

Yan et al. 2024 (NeurIPS), arXiv 2410.23159.
"""

import torch

from nowcast.contracts import InputError
from nowcast.losses.loss import Loss

GOLDEN = 0.6180339887498949  # its multiples fall evenly between 0 and 1, however many are taken


class FACL(Loss):
    """Either the amplitudes of the spectrum (texture, blind to position) or the correlation (position, blind to size).

    Amplitude: mean (|F̂| − |F|)² of the orthonormal 2-D spectra of each field. Correlation: 1 − Re Σ F̂*F /
    √(Σ|F̂|² Σ|F|²) over the batch; by Parseval's theorem that is the cosine of the fields themselves, so it needs no
    transform. Both times √(H·W). Unknown pixels are 0 in both fields, and the amplitude's mean is over known pixels.

    In training each call takes one of the two: the amplitude's share rises from 0 to 1 over the first part of
    `calls`, and stays there for the last part. The paper draws by chance; here the choices are spread evenly by call
    number, so that resumed and distributed runs agree. Without `calls`, and in validation, it is the fixed mix
    amplitude_share · amplitude + (1 − amplitude_share) · correlation.

    Args:
        calls: of the loss in the whole training: its optimiser steps (times the lead times or scales of a wrapper).
        amplitude_last: share of them, at the end, in which the amplitude alone counts; the paper's α.
        amplitude_share: of the amplitude in the fixed mix.
    """

    _done: torch.Tensor

    def __init__(self, calls: int | None = None, amplitude_last: float = 0.1, amplitude_share: float = 0.5) -> None:
        super().__init__()
        if (calls is not None and calls < 1) or not 0 <= amplitude_last < 1 or not 0 <= amplitude_share <= 1:
            raise InputError(
                "FACL needs calls of at least 1 or none, amplitude_last in [0, 1) and amplitude_share in [0, 1], "
                f"not {calls}, {amplitude_last} and {amplitude_share}"
            )
        self.calls, self.amplitude_last, self.amplitude_share = calls, amplitude_last, amplitude_share
        self.register_buffer("_done", torch.zeros((), dtype=torch.int64))  # in checkpoints, to resume the schedule

    def over_known(self, predicted: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        share = self._share()
        loss = predicted.new_zeros(())
        if share > 0:
            loss = loss + share * amplitude_loss(predicted, target, known)
        if share < 1:
            loss = loss + (1 - share) * correlation_loss(predicted, target)
        return loss * (predicted.shape[-2] * predicted.shape[-1]) ** 0.5

    def _share(self) -> float:
        """What the amplitude counts in this call."""
        if self.calls is None or not self.training:
            return self.amplitude_share
        done = int(self._done)
        self._done += 1
        rising = self.calls * (1 - self.amplitude_last)
        return float((done * GOLDEN) % 1 < done / rising)


def amplitude_loss(predicted: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the spectral amplitudes of fields that are 0 where not known."""
    amplitudes = [torch.fft.fft2(field, norm="ortho").abs() for field in (predicted, target)]
    return (amplitudes[0] - amplitudes[1]).square().sum() / known.sum().clamp_min(1)


def correlation_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 − cosine of fields that are 0 where not known; 0 where both are dry, 1 where one is.

    A forecast with less than a hundredth of the target's norm is taken as that large: the gradient of a cosine grows
    without bound towards the origin, where networks start.
    """
    size, wanted = predicted.square().sum(), target.square().sum()
    square = (wanted * torch.maximum(size, 1e-4 * wanted)).clamp_min(torch.finfo(size.dtype).tiny)
    cosine = (predicted * target).sum() / square.sqrt()
    return torch.where((size == 0) & (wanted == 0), 0.0, 1 - cosine)
