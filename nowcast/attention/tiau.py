"""Temporal interaction: parts of a frame told what they are in the other frames.

Hou, Ma, Chang, Gu, Shan and Chen 2020, arXiv 2009.01035.
"""

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm
from nowcast.attention._parts import Learnt, Links, PartInteraction

__all__ = ["TemporalInteraction"]

CARD = Card(
    family="temporal",
    paper="Hou et al., IAUnet: Global Context-Aware Feature Learning for Person Re-Identification",
    source="2009.01035",
    year=2020,
    equation="sₜₚ = δ(norm W [nₜₚ; Σᵤ softmax(norm w|nₜₚ − nᵤₚ|) nᵤₚ]), u ≠ t; yₜ = xₜ + W̄ [s̄ₜ; x̄]",
    time="O(TPCN + T²P²C + TPC²), P parts",
    memory="O(TPN + T²P²C)",
    shape="BTCHW",
    note="The paper's spatial-temporal unit, of which this is the half across frames, is links='both'.",
)


class TemporalInteraction(PartInteraction):
    """Let each part of each frame be informed by the same part of the other frames.

    (B, T, C, H, W) → (B, T, C, H, W). Masks, nodes, layers and what a frame is told are those of `siau`; a node
    averages the nodes of the same part in other frames, of which there may be any number.

    Args:
        channels: C.
        parts: how many in a frame, 4 in the paper.
        reduction: C / width of a node, 2 in the paper.
        links: "across" frames, between nodes of one part; "both" for the paper's unit, where nodes are also told
            by the other parts of their frame; "within" for these alone.
        learnt: "all", or "graph" for no weights but those between nodes, as in `siau`.
        published: whether nodes are sums in place of means and edges have terms without effect, as in the authors'
            code.
        norm: "group", or "batch" as in the paper.

    Raises:
        InputError: for less than one part.
    """

    def __init__(
        self,
        channels: int,
        *,
        parts: int = 4,
        reduction: int = 2,
        links: Links = "across",
        learnt: Learnt = "all",
        published: bool = False,
        norm: Norm = "group",
    ) -> None:
        super().__init__(channels, parts, reduction, links, learnt, published, norm)
