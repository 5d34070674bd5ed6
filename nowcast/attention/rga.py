"""Relation-aware global attention: positions gated by their relations, then channels by theirs.

Zhang, Lan, Zeng, Jin and Chen 2020, arXiv 1904.02998.
"""

from collections.abc import Sequence

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm
from nowcast.attention._relation import RelationAware

__all__ = ["RelationAwareAttention"]

CARD = Card(
    family="mixed",
    paper="Zhang et al., Relation-Aware Global Attention for Person Re-identification",
    source="1904.02998",
    year=2019,
    equation="y = rga_c(rga_s(x))",
    time="O((C² + nC + n²)N/r + C³/r), n cells",
    memory="O(CN)",
    note="Nodes are related to a fixed grid of cells so that any size fits; a grid of H × W is the paper's.",
)


class RelationAwareAttention(RelationAware):
    """Gate positions by their affinities to the whole map, then channels by their affinities to all channels.

    (B, C, H, W) → (B, C, H, W). `rga_s`, then `rga_c`, with weights of their own.

    Args:
        channels: C.
        reduction: ratio of all bottlenecks, 8 in the paper.
        grid: rows and columns of the cells that positions are related to and channels are described by.
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
        super().__init__(["positions", "channels"], channels, reduction, grid, norm, minimum)
