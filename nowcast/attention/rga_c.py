"""Relation-aware global attention over channels: each gated by its relations to all channels.

Zhang, Lan, Zeng, Jin and Chen 2020, arXiv 1904.02998.
"""

from collections.abc import Sequence

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm
from nowcast.attention._relation import RelationAware

__all__ = ["RelationAwareChannels"]

CARD = Card(
    family="channel",
    paper="Zhang et al., Relation-Aware Global Attention for Person Re-identification",
    source="1904.02998",
    year=2019,
    equation="y = x ⊙ σ(W [mean g(x); ψ([θ(x)ᵀφ(x); φ(x)ᵀθ(x)])]), a channel's features its means in n cells",
    time="O(CN + (n² + nC + C²)C/r)",
    memory="O(C(C + n)/r)",
    note="Nodes are related to a fixed grid of cells so that any size fits; a grid of H × W is the paper's.",
)


class RelationAwareChannels(RelationAware):
    """Gate each channel by what it is and by its affinities to and from all channels.

    (B, C, H, W) → (B, C, H, W). y = x ⊙ σ(W [mean g(x); ψ([θ(x)ᵀφ(x); φ(x)ᵀθ(x)])]) with one gate a channel,
    whose features are its means in n cells of the map; g, θ, φ, ψ are linear layer, norm and ReLU, and W is
    two such layers. Relations have neither scale nor softmax.

    Args:
        channels: C.
        reduction: ratio of all bottlenecks, 8 in the paper.
        grid: rows and columns of the cells that channels are described by.
        norm: "group", or "batch" as in the paper.
        minimum: least width of a bottleneck; some of the paper's have one unit at this grid.

    Raises:
        InputError: for a grid that is not two positive numbers.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 8,
        grid: Sequence[int] = (8, 8),
        norm: Norm = "group",
        minimum: int = 8,
    ) -> None:
        super().__init__(["channels"], channels, reduction, grid, norm, minimum)
