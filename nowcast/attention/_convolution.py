"""Convolutions with what usually follows them."""

from torch import nn

from nowcast.attention._norm import Norm, norm_layer


def conv_norm_relu(channels: int, width: int, kernel: int, norm: Norm, *, bias: bool = False) -> nn.Sequential:
    """Convolution, norm and ReLU: (B, channels, H, W) → (B, width, H, W); the kernel is odd."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=bias),
        norm_layer(norm, width),
        nn.ReLU(),
    )
