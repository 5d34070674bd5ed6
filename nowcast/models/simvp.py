"""SimVP: convolutions frame by frame, a translator from past to future between them.

Gao, Tan, Wu and Li 2022, arXiv 2206.05099 (inception translator); Tan, Gao, Li and Li 2023, "SimVP: Towards Simple
yet Powerful Spatiotemporal Predictive Learning", arXiv 2211.12509 (gated spatiotemporal attention, gSTA).
"""

from typing import Any, Literal

import torch
from einops import rearrange
from torch import nn

from nowcast.contracts import InputError
from nowcast.models._blocks import fields_a_frame, pad_to_multiple, per_stage, start_at_zero
from nowcast.models._rollout import frames_a_pass, roll_out
from nowcast.models._translators import GSTATranslator, InceptionTranslator
from nowcast.norms import GroupNorm

__all__ = ["SimVP"]


class SimVP(nn.Module):
    """Encode each past frame, translate all of them together into the lead times, decode each lead time.

    (B, past_frames, C, H, W) → (B, steps, outputs, H, W), scaled, any H and W. The decoder adds what the first layer of
    the encoder saw: frame by frame where a pass makes as many frames as it sees (the paper's case), else of the last
    past frame. With `residual` the network adds to the last past frame and its last convolution starts at zero:
    untrained it is persistence.

    Args:
        past_frames: T_in.
        steps: T_out.
        channels: C.
        outputs: fields at each lead time; None is C. Where there are others than C, C is 1.
        width: channels of encoder and decoder, 64 in the paper.
        hidden: channels of the translator, 512 in the paper.
        blocks: of the translator, 8 in the paper; the inception translator has as many on the way back.
        halvings: of the map in the encoder, 2 in the paper; each stands behind a layer at full size.
        translator: "gsta" (2023) or "inception" (2022).
        attention: behind every block of the translator by name, or a list with one for each, 2 · blocks for the
            inception translator. The paper has none beside its own.
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
        hidden: int = 512,
        blocks: int = 8,
        halvings: int = 2,
        translator: Literal["gsta", "inception"] = "gsta",
        attention: Any = None,
        rollout: int | None = None,
        residual: bool = True,
    ) -> None:
        super().__init__()
        if min(width, hidden, halvings) < 1 or width % 2 or blocks < 2:
            raise InputError(
                "SimVP needs an even width, hidden and halvings of at least 1 and blocks of at least 2, "
                f"not {width}, {hidden}, {halvings} and {blocks}"
            )
        self.steps, self.residual, self.multiple = steps, residual, 2**halvings
        self.frames = frames_a_pass(rollout, steps, channels, outputs)
        self.first = layer(channels, width)
        self.encoder = nn.Sequential(
            *(layer(width, width, resize) for resize in [*["halve", "keep"] * halvings][: 2 * halvings - 1])
        )
        build = {"gsta": GSTATranslator, "inception": InceptionTranslator}[translator]
        places = blocks if translator == "gsta" else 2 * blocks
        self.translator = build(past_frames * width, hidden, self.frames * width, blocks, per_stage(attention, places))
        self.decoder = nn.Sequential(
            *(layer(width, width, resize) for resize in [*["double", "keep"] * halvings][: 2 * halvings - 1])
        )
        self.last = layer(width, width)
        self.head = nn.Conv2d(width, fields_a_frame(channels, outputs, residual), 1)
        if residual:
            start_at_zero(self.head)

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        return roll_out(self._once, past, self.steps)

    def _once(self, past: torch.Tensor) -> torch.Tensor:
        (height, width), samples = past.shape[-2:], past.shape[0]
        first = self.first(pad_to_multiple(rearrange(past, "b t c h w -> (b t) c h w"), self.multiple))
        x = rearrange(self.encoder(first), "(b t) c h w -> b (t c) h w", b=samples)
        x = rearrange(self.translator(x), "b (t c) h w -> (b t) c h w", t=self.frames)
        beside = rearrange(first, "(b t) c h w -> b t c h w", b=samples)
        if beside.shape[1] != self.frames:
            beside = beside[:, -1:]
        decoded = rearrange(self.decoder(x), "(b t) c h w -> b t c h w", b=samples) + beside
        x = self.head(self.last(rearrange(decoded, "b t c h w -> (b t) c h w")))[..., :height, :width]
        change = rearrange(x, "(b t) c h w -> b t c h w", b=samples)
        return past[:, -1:] + change if self.residual else change


def layer(inputs: int, outputs: int, resize: str = "keep") -> nn.Sequential:
    """A 3×3 convolution with norm and SiLU, which halves the map by its stride or doubles it by pixel shuffle."""
    match resize:
        case "halve":
            convolution: nn.Module = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        case "double":
            convolution = nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2))
        case _:
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    return nn.Sequential(convolution, GroupNorm(2, outputs), nn.SiLU(inplace=True))
