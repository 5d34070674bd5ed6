"""Structural similarity (Wang et al. 2004, doi 10.1109/TIP.2003.819861), with windows that see known pixels alone."""

import torch
import torch.nn.functional as F
from einops import rearrange

from nowcast.contracts import InputError
from nowcast.losses.loss import Loss


class SSIM(Loss):
    """1 − SSIM, the mean over known pixels: local means, variances and the correlation must agree.

    Window means are taken over known pixels (normalised convolution); beyond the border nothing is known.

    Args:
        sigma: standard deviation of the Gaussian window in pixels; the paper's 1.5.
        reach: the window ends this many pixels from its centre; the paper's 5 (11 × 11).
        value_range: of the fields in network space; 2 is 60 dBZ.
    """

    _window: torch.Tensor

    def __init__(self, sigma: float = 1.5, reach: int = 5, value_range: float = 2.0) -> None:
        super().__init__()
        if sigma <= 0 or reach < 1 or value_range <= 0:
            raise InputError(f"SSIM needs sigma, reach and value_range above 0, not {sigma}, {reach}, {value_range}")
        self.reach = reach
        self.c1, self.c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
        window = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
        self.register_buffer("_window", window / window.sum(), persistent=False)

    def over_known(self, predicted: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        similarity = self.similarity(predicted, target, known)
        return torch.where(known, 1 - similarity, 0.0).sum() / known.sum().clamp_min(1)

    def similarity(self, predicted: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """SSIM around each pixel, (B, T, C, H, W), from fields that are 0 where not known."""
        weight = known.float()
        moments = [weight, predicted, target, predicted**2, target**2, predicted * target]
        seen, *sums = self._windowed(torch.stack(moments))
        x, y, xx, yy, xy = (total / seen.clamp_min(1e-6) for total in sums)
        spread = (xx - x * x).clamp_min(0) + (yy - y * y).clamp_min(0)
        return (2 * x * y + self.c1) * (2 * (xy - x * y) + self.c2) / ((x * x + y * y + self.c1) * (spread + self.c2))

    def _windowed(self, fields: torch.Tensor) -> torch.Tensor:
        """Gaussian sums of (K, B, T, C, H, W) around each pixel, zero beyond the border."""
        k, b, t, c, _, _ = fields.shape
        images = rearrange(fields, "k b t c h w -> (k b t c) 1 h w")
        images = F.conv2d(images, self._window[None, None, :, None], padding=(self.reach, 0))
        images = F.conv2d(images, self._window[None, None, None, :], padding=(0, self.reach))
        return rearrange(images, "(k b t c) 1 h w -> k b t c h w", k=k, b=b, t=t, c=c)
