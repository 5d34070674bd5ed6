"""Relation-aware global attention over positions: each gated by its relations to the whole map.

Zhang, Lan, Zeng, Jin and Chen 2020, arXiv 1904.02998.
"""

from collections.abc import Sequence

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm
from nowcast.attention._relation import RelationAware

__all__ = ["RelationAwarePositions"]

CARD = Card(
    family="spatial",
    paper="Zhang et al., Relation-Aware Global Attention for Person Re-identification",
    source="1904.02998",
    year=2019,
    equation="y = x ⊙ σ(W [mean_C g(x); ψ([θ(x)ᵀφ(cells); θ(cells)ᵀφ(x)])])",
    time="O((C² + nC + n²)N/r), n cells",
    memory="O((C + n)N/r)",
    note="Nodes are related to a fixed grid of cells so that any size fits; a grid of H × W is the paper's.",
)


class RelationAwarePositions(RelationAware):
    """Gate each position by what it is and by its affinities to and from n cells of the map.

    (B, C, H, W) → (B, C, H, W). y = x ⊙ σ(W [mean_C g(x); ψ([θ(x)ᵀφ(cells); θ(cells)ᵀφ(x)])]) with one gate
    a position; g, θ, φ, ψ are 1×1 convolution, norm and ReLU, and W is two such layers. Relations have
    neither scale nor softmax. They are folded into ψ, which takes no N × n map.

    Args:
        channels: C.
        reduction: ratio of all bottlenecks, 8 in the paper.
        grid: rows and columns of the cells that positions are related to.
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
        super().__init__(["positions"], channels, reduction, grid, norm, minimum)
