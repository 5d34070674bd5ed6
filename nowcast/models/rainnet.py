"""RainNet: a plain U-Net for the next radar frame, called again on its own forecasts.

Ayzel, Scheffer and Heistermann 2020, "RainNet v1.0", Geosci. Model Dev. 13, doi 10.5194/gmd-13-2631-2020.
"""

from typing import Any

from torch import nn

from nowcast.contracts import InputError
from nowcast.models._blocks import AttentionFactory, fields_a_frame, per_stage
from nowcast.models._rollout import frames_a_pass
from nowcast.models._unet import UNet, steps_back, steps_between

__all__ = ["RainNet"]


class RainNet(UNet):
    """Pairs of 3×3 convolutions with ReLU and no norm, down `depth` levels and up again.

    (B, past_frames, C, H, W) → (B, steps, outputs, H, W), scaled, any H and W. The paper makes one frame of four and
    rolls it out: rollout=1. With `residual` it adds to the last past frame and its last convolution starts at zero:
    untrained it is persistence. The few maps before the last convolution, two for each field as in the paper, have a
    leaky ReLU, since a plain one that dies there ends all learning; and dropout stands behind the pooling.

    Args:
        past_frames: T_in; 4 in the paper.
        steps: T_out.
        channels: C.
        outputs: fields at each lead time; None is C. Where there are others than C, C is 1.
        width: channels of the first level, 64 in the paper; each level down has twice as many.
        depth: levels below the first, 4 in the paper; sizes are padded to a multiple of 2^depth inside.
        attention: of every pair of convolutions by name, or a list of 2 · depth + 1 with one for each: `depth` of the
            encoder from the top, the bottleneck, `depth` of the decoder from below. None in the paper.
        dropout: share of values dropped before and after the bottleneck in training, 0.5 in the paper.
        rollout: frames that one pass makes, fed back as past until there are `steps`; None makes all in one pass.
        residual: whether the last past frame is added to the output.

    Raises:
        InputError: for sizes below 1, a list of another length, or outputs that cannot be fed back or added to.
    """

    def __init__(
        self,
        past_frames: int,
        steps: int,
        channels: int = 1,
        outputs: int | None = None,
        width: int = 64,
        depth: int = 4,
        attention: Any = None,
        dropout: float = 0.5,
        rollout: int | None = None,
        residual: bool = True,
    ) -> None:
        if depth < 1 or width < 1:
            raise InputError(f"RainNet needs depth and width of at least 1, not {depth} and {width}")
        widths = [width * 2**level for level in range(depth + 1)]
        frames = frames_a_pass(rollout, steps, channels, outputs)
        fields = frames * fields_a_frame(channels, outputs, residual)
        gates = per_stage(attention, 2 * depth + 1)
        *down, bottleneck = (
            pair(*sizes, gate)
            for sizes, gate in zip(steps_between(past_frames * channels, widths), gates[: depth + 1], strict=True)
        )
        super().__init__(
            down=[*down, nn.Sequential(nn.Dropout(dropout), bottleneck, nn.Dropout(dropout))],
            skips=[nn.Identity() for _ in range(depth)],
            up=[pair(*sizes, gate) for sizes, gate in zip(steps_back(widths), gates[depth + 1 :], strict=True)],
            head=nn.Sequential(convolution(width, 2 * fields), nn.LeakyReLU(0.1), nn.Conv2d(2 * fields, fields, 1)),
            steps=steps,
            frames=frames,
            residual=residual,
            interpolation="nearest",
        )


def pair(inputs: int, outputs: int, attention: AttentionFactory) -> nn.Sequential:
    """Two 3×3 convolutions with ReLU, then attention."""
    return nn.Sequential(
        convolution(inputs, outputs),
        nn.ReLU(inplace=True),
        convolution(outputs, outputs),
        nn.ReLU(inplace=True),
        attention(outputs),
    )


def convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3×3 convolution that keeps the variance through ReLUs, since no norm does."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer
