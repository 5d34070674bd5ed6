"""Spatial interaction: parts of a map inform each other, and the map is told.

Hou, Ma, Chang, Gu, Shan and Chen 2020, arXiv 2009.01035.
"""

import torch

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm
from nowcast.attention._parts import Learnt, PartInteraction

__all__ = ["SpatialInteraction"]

CARD = Card(
    family="spatial",
    paper="Hou et al., IAUnet: Global Context-Aware Feature Learning for Person Re-Identification",
    source="2009.01035",
    year=2020,
    equation="nₚ = mean of x under σ(norm W x)ₚ; sₚ = δ(norm W [nₚ; Σ softmax(norm w|nₚ − n|) n]); y = x + W̄ [s̄; x̄]",
    time="O(PCN + C²), P parts",
    memory="O(PN + C²)",
    note="The authors guide the masks by labels of human parts; ours are free, or classes of intensity.",
)


class SpatialInteraction(PartInteraction):
    """Let a few parts of a map inform each other and add what comes of it to the map.

    (B, C, H, W) → (B, C, H, W). Each of the parts is a mask σ(norm W x) and a node, the mean of the pixels under
    it, of reduced width. Nodes average the other nodes by softmax(norm w|nᵢ − nⱼ|) and are merged with that by a
    layer with ReLU. The mean of the merged nodes and the map's own mean are projected and added to every pixel;
    the scale of the last norm starts at 0.

    Args:
        channels: C.
        parts: how many, 4 in the paper.
        reduction: C / width of a node, 2 in the paper.
        learnt: "all", or "graph" for no weights but those between nodes: parts are classes of intensity, nodes
            have all C channels, and every pixel is given the merged nodes of the parts that it belongs to.
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
        learnt: Learnt = "all",
        published: bool = False,
        norm: Norm = "group",
    ) -> None:
        super().__init__(channels, parts, reduction, "within", learnt, published, norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.unsqueeze(1)).squeeze(1)
