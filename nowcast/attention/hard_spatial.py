"""Hard attention of a captioner: one pixel of the map drawn by how well it suits a state, and told to all.

Xu, Ba, Kiros and others 2015, arXiv 1502.03044.
"""

import torch
import torch.nn.functional as F

from nowcast.attention._additive import Activation
from nowcast.attention._card import Card
from nowcast.attention.soft_spatial import Gate, SoftSpatialAttention
from nowcast.contracts import InputError

__all__ = ["HardSpatialAttention"]

CARD = Card(
    family="origin",
    paper="Xu et al., Show, Attend and Tell: Neural Image Caption Generation with Visual Attention",
    source="1502.03044",
    year=2015,
    equation="y = x + β xₛ, s drawn with probabilities softmax_N(vᵀ tanh(W xₙ + U x̄)), β = σ(w x̄)",
    time="O(CAN), A hidden units",
    memory="O((A + C)N)",
    note="Learns by straight-through Gumbel softmax; the paper's REINFORCE needs a reward and is not here.",
)


class HardSpatialAttention(SoftSpatialAttention):
    """Add to every pixel one pixel of the map: y = x + β xₛ, with s drawn in training, the likeliest once trained.

    (B, C, H, W) → (B, C, H, W). Probabilities are the weights α of `soft_spatial`. A draw passes back the gradient
    of a softmax under Gumbel noise, as if that had been taken (straight-through).

    Args:
        channels: C.
        width: of the hidden layer; None takes C. 512 in the paper.
        activation: "tanh", or "relu" as in ports.
        gate: "scalar" β as in the paper, or "vector", one a channel, as in ports.
        score_bias: whether v has a bias, as in ports; the softmax cannot notice it.
        temperature: of the softmax whose gradient is passed back; the draw itself does not depend on it.
        expected: how often in training the mean under α is taken in place of a draw, 1/2 in the paper.

    Raises:
        InputError: for a temperature that is not positive, or a share beyond 0 to 1.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int | None = None,
        activation: Activation = "tanh",
        gate: Gate = "scalar",
        score_bias: bool = False,
        temperature: float = 1.0,
        expected: float = 0.5,
    ) -> None:
        super().__init__(channels, width=width, activation=activation, gate=gate, score_bias=score_bias)
        if temperature <= 0 or not 0 <= expected <= 1:
            raise InputError(
                "hard_spatial needs a temperature above 0 and an expected share from 0 to 1, "
                f"such as 1 and 0.5, not {temperature} and {expected}"
            )
        self.temperature, self.expected = temperature, expected

    def entropy(self, x: torch.Tensor) -> torch.Tensor:
        """Of the probabilities, in nats, (B,): the paper rewards it, so that draws do not settle too soon."""
        logarithms = self.scores(x).log_softmax(dim=1)
        return -(logarithms.exp() * logarithms).sum(dim=1)

    def shares(self, scores: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return F.one_hot(scores.argmax(dim=1), scores.shape[1])
        drawn = F.gumbel_softmax(scores, self.temperature, hard=True)
        averaged = torch.rand_like(scores[:, :1]) < self.expected
        return torch.where(averaged, scores.softmax(dim=1), drawn)
