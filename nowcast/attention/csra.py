"""Class-specific residual attention: a class scored by its mean over the map and by where it is strongest.

Zhu and Wu 2021, arXiv 2108.02456.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.contracts import InputError

__all__ = ["ClassSpecificResidualAttention"]

CARD = Card(
    family="channel",
    paper="Zhu and Wu, Residual Attention: A Simple but Effective Method for Multi-Label Recognition",
    source="2108.02456",
    year=2021,
    equation="sₖ = wₖ·x/‖wₖ‖; aₖ = mean_N sₖ + λ Σ_N softmax_N(T sₖ) sₖ; y = x ⊙ σ(a)",
    time="O(KCN)",
    memory="O(KN)",
    note="The paper classifies images by a (`logits`); a gate of the channels is this library's use of it.",
)


class ClassSpecificResidualAttention(nn.Module):
    """Score classes by their mean score on the map, plus λ times a softmax-weighted one.

    (B, C, H, W) → (B, C, H, W). As attention, with a class a channel, scores gate the channels: y = x ⊙ σ(a).
    Several temperatures have classifiers of their own, whose scores are added.

    Args:
        channels: C.
        classes: K; None is C. Only then is there a map, else `logits` alone.
        temperatures: T of each head, 1 in the paper's single one and 1, 2, 4, ∞ of four; ∞ is the maximum.
        residual: λ, 0.1 to 0.3 in the paper.
        normalise: whether classifiers have length 1, as the authors'; a popular port's have not.

    Raises:
        InputError: for no temperatures or classes, or a map asked for with K other than C.
    """

    def __init__(
        self,
        channels: int,
        *,
        classes: int | None = None,
        temperatures: Sequence[float] = (1.0,),
        residual: float = 0.2,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        classes = channels if classes is None else classes
        if classes < 1 or not temperatures:
            raise InputError(f"csra needs a class and a temperature or more, not {classes} and {list(temperatures)}")
        self.temperatures = tuple(temperatures)
        self.residual, self.normalise = residual, normalise
        self.classifiers = nn.ParameterList(nn.Linear(channels, classes, bias=False).weight for _ in temperatures)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Scores a of the classes, (B, C, H, W) → (B, K)."""
        heads = torch.stack(list(self.classifiers))
        if self.normalise:
            heads = F.normalize(heads, dim=2)
        scores = F.conv2d(x, rearrange(heads, "t k c -> (t k) c 1 1"))
        scores = rearrange(scores, "b (t k) h w -> t b k (h w)", t=len(heads))
        strongest = [
            score.amax(dim=2) if math.isinf(temperature) else weighed_by_itself(score, temperature)
            for temperature, score in zip(self.temperatures, scores, strict=True)
        ]
        return (scores.mean(dim=3) + self.residual * torch.stack(strongest)).sum(dim=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.logits(x)
        if logits.shape[1] != x.shape[1]:
            raise InputError(
                f"csra has {logits.shape[1]} classes for {x.shape[1]} channels, and gates only as many; "
                "leave out classes, or call logits"
            )
        return x * rearrange(torch.sigmoid(logits), "b c -> b c 1 1")


def weighed_by_itself(score: torch.Tensor, temperature: float) -> torch.Tensor:
    """Σ_N softmax_N(T s) s, (B, K, N) → (B, K)."""
    return ((temperature * score).softmax(dim=2) * score).sum(dim=2)
