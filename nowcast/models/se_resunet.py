"""SE-ResUNet: a U-Net of residual blocks with squeeze-and-excitation, all lead times at once or rolled out.

Song, Yang, Wang, Zhang, Li and Wang 2019, "Deep learning prediction of incoming rainfalls: an operational service for
the city of Beijing China", ICDMW, doi 10.1109/ICDMW.2019.00036.
"""

from typing import Any

from torch import nn

from nowcast.contracts import InputError
from nowcast.models._blocks import ResidualBlock, fields_a_frame, per_stage
from nowcast.models._rollout import frames_a_pass
from nowcast.models._unet import UNet, steps_back, steps_between

__all__ = ["SEResUNet"]


class SEResUNet(UNet):
    """Frames stacked as channels go down `depth` levels and up again; a last convolution gives every lead time.

    (B, past_frames, C, H, W) → (B, steps, outputs, H, W), scaled, any H and W. With `residual` the network adds to the
    last past frame and its last convolution starts at zero: untrained it is persistence.

    Args:
        past_frames: T_in.
        steps: T_out.
        channels: C.
        outputs: fields at each lead time; None is C. Where there are others than C, C is 1.
        width: channels of the first level; each level down has twice as many.
        depth: levels below the first; sizes are padded to a multiple of 2^depth inside.
        attention: of every residual block by name ("se" in the paper, null for none), or a list with one for each
            stage: `depth` of the encoder from the top, the bottleneck, `depth` of the decoder from below.
        skip_attention: of the maps that go beside from encoder to decoder, by name, or a list with one for each of
            the `depth` levels from the top.
        blocks: residual blocks a stage.
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
        width: int = 32,
        depth: int = 4,
        attention: Any = "se",
        skip_attention: Any = None,
        blocks: int = 1,
        rollout: int | None = None,
        residual: bool = True,
    ) -> None:
        if depth < 1 or width < 1 or blocks < 1:
            raise InputError(
                f"SEResUNet needs depth, width and blocks of at least 1, not {depth}, {width} and {blocks}"
            )
        widths = [width * 2**level for level in range(depth + 1)]
        frames = frames_a_pass(rollout, steps, channels, outputs)
        factories = per_stage(attention, 2 * depth + 1)

        def stage(inputs: int, outputs: int) -> nn.Sequential:
            factory = factories.pop(0)
            return nn.Sequential(
                ResidualBlock(inputs, outputs, factory),
                *(ResidualBlock(outputs, outputs, factory) for _ in range(blocks - 1)),
            )

        super().__init__(
            down=[stage(*channels_) for channels_ in steps_between(past_frames * channels, widths)],
            skips=[factory(beside) for factory, beside in zip(per_stage(skip_attention, depth), widths, strict=False)],
            up=[stage(*channels_) for channels_ in steps_back(widths)],
            head=nn.Conv2d(width, frames * fields_a_frame(channels, outputs, residual), 1),
            steps=steps,
            frames=frames,
            residual=residual,
        )
