"""The frame of networks that make another one probabilistic."""

import torch
from torch import nn

from nowcast.contracts import InputError
from nowcast.lessons import margin_of, train_forward
from nowcast.models._output import Output


class Distribution(nn.Module):
    """A network whose fields at each lead time are a distribution, (B, T_in, 1, H, W) → (B, steps, K, H, W).

    `output` says what the K fields mean and derives medians, probabilities and the like from them.

    Args:
        network: makes K fields at each lead time, unbounded.
        output: what they are once `shaped`.
    """

    def __init__(self, network: nn.Module, output: Output) -> None:
        super().__init__()
        self.network, self.output = network, output
        self.margin = margin_of(network)

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        return self.shaped(self.network(past))

    def train_forward(
        self, past: torch.Tensor, future: torch.Tensor, progress: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The forecast in training and what the network inside adds to the loss."""
        fields, extra = train_forward(self.network, past, future, progress)
        return self.shaped(fields), extra

    def shaped(self, fields: torch.Tensor) -> torch.Tensor:
        """What the network inside made, as fields of the distribution; as they are, where all values will do."""
        return fields


def one_channel(wrapper: str, channels: int) -> None:
    """Refuse windows of several channels, whose distributions one axis cannot hold."""
    if channels != 1:
        raise InputError(f"{wrapper} forecasts the distribution of one channel, not of {channels}")
