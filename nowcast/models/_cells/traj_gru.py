"""TrajGRU: a gated recurrent unit that gathers its state along learned trajectories.

Shi, Gao, Lausen, Wang, Yeung, Wong and Woo 2017, arXiv 1706.03458.
"""

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from nowcast.attention._precision import at_least_single
from nowcast.contracts import InputError
from nowcast.models._blocks import AttentionFactory, start_at_zero
from nowcast.models._cells._cell import Cell, State, gru_step, same_size

__all__ = ["TrajGRUCell"]

FLOW_WIDTH, FLOW_KERNEL = 32, 5  # of the network that makes the flows, as in the paper's code


class TrajGRUCell(Cell):
    """State (h,): like ConvGRU, but each pixel reads h where `links` flows point back to, instead of from neighbours.

    Flows come from input and state by a small convolutional network and start at zero. Beyond the border h is 0.

    Args:
        channels: C of the input; 0 for a cell that has none.
        width: channels of h.
        links: flows, 13 (9 at the coarsest level) in the authors' network for radar.
        attention: builds attention for a number of channels.
        on: "input", "hidden" or "gates" (reset and update).

    Raises:
        InputError: for fewer than one link.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        links: int = 13,
        attention: AttentionFactory | None = None,
        on: str = "hidden",
    ) -> None:
        super().__init__(channels, width, drives=3 * width, gates=2 * width, attention=attention, on=on)
        if links < 1:
            raise InputError(f"traj_gru needs at least 1 link, not {links}")
        self.drives += FLOW_WIDTH
        self.flow_from_input = same_size(channels, FLOW_WIDTH, FLOW_KERNEL) if channels else nn.Identity()
        self.flow_from_hidden = same_size(width, FLOW_WIDTH, FLOW_KERNEL)
        self.flows = start_at_zero(same_size(FLOW_WIDTH, 2 * links, FLOW_KERNEL))
        self.recurrent = nn.Conv2d(links * width, 3 * width, 1)

    def drive(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = self.attend_input(inputs)
        return torch.cat([self.from_input(inputs), self.flow_from_input(inputs)], dim=1)

    def forward(self, drive: torch.Tensor, state: State) -> State:
        (hidden,) = state
        read = self.attend_hidden(hidden)
        drive, flow_drive = drive.split([3 * self.width, FLOW_WIDTH], dim=1)
        flows = self.flows(F.leaky_relu(flow_drive + self.flow_from_hidden(read), 0.2))
        return (gru_step(drive, self.recurrent(carried(read, flows)), hidden, self.attend_gates),)


def carried(maps: torch.Tensor, flows: torch.Tensor) -> torch.Tensor:
    """Maps carried along each of several flows: (B, C, H, W), (B, links·2, H, W) → (B, links·C, H, W).

    Flows are in pixels, right then down, and say where content comes to; it is read one flow back, bilinearly.
    """
    height, width = maps.shape[-2:]
    maps, flows = at_least_single(maps), at_least_single(flows)
    x = torch.arange(width, device=flows.device, dtype=flows.dtype)
    y = torch.arange(height, device=flows.device, dtype=flows.dtype)
    right, down = rearrange(flows, "b (link two) h w -> two b link h w", two=2)
    # All links in one call, one below the other. Pixel k of n has its centre at (2k + 1) / n − 1.
    places = torch.stack([(2 * (x - right) + 1) / width - 1, (2 * (y[:, None] - down) + 1) / height - 1], dim=-1)
    places = rearrange(places, "b link h w two -> b (link h) w two")
    found = F.grid_sample(maps, places.to(maps.dtype), padding_mode="zeros", align_corners=False)
    return rearrange(found, "b c (link h) w -> b (link c) h w", h=height)
