"""Gates made of how nodes relate to each other, what rga_s, rga_c and rga have in common."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from nowcast.attention._convolution import conv_norm_relu
from nowcast.attention._norm import Norm, norm_layer
from nowcast.attention._size import rows_and_columns
from nowcast.attention._width import reduced

Nodes = Literal["positions", "channels"]
Pair = tuple[torch.Tensor, torch.Tensor]


class RelationEmbedding(nn.Module):
    """ψ([θᵀφ'; φᵀθ']): what nodes make of their relations to others, whose embeddings are θ' and φ'.

    ψ is linear, norm and ReLU; as its linear part meets the products first, (W φ'ᵀ) θ is computed in place of
    W (φ'ᵀ θ), and the relations themselves, a number for each node and other, are never held.
    """

    def __init__(self, others: int, width: int, norm: Norm) -> None:
        super().__init__()
        self.project = nn.Conv2d(2 * others, width, 1, bias=False)
        self.norm = norm_layer(norm, width)

    def forward(self, nodes: Pair, others: Pair) -> torch.Tensor:
        """θ and φ of nodes, (B, D, height, width), and of others, (B, D, …): (B, width, height, width)."""
        theta, phi = (embedded.flatten(2) for embedded in nodes)
        other_theta, other_phi = (embedded.flatten(2).mT for embedded in others)
        incoming, outgoing = self.project.weight.flatten(1).chunk(2, dim=1)
        sums = (incoming @ other_phi) @ theta + (outgoing @ other_theta) @ phi
        return torch.relu(self.norm(sums.unflatten(2, nodes[0].shape[2:])))


class RelationAware(nn.Module):
    """Gates of positions, of channels, or of both in turn, from the relations of each to all of its kind.

    Node n with features xₙ is gated by σ(W [mean g(xₙ); ψ([θ(xₙ)ᵀφ(x_:); φ(xₙ)ᵀθ(x_:)])]), where x_: are all
    nodes. Positions have their channels as features and are related to a grid of cells, over which θ and φ
    are averaged; channels have their means in these cells as features. A grid of the size of the map is the
    paper's. Modules are registered in the authors' order.

    Args:
        nodes: whose gates, in this order.
        channels: C.
        reduction: ratio of all bottlenecks.
        grid: rows and columns of cells.
        norm: of all embeddings.
        minimum: least width of a bottleneck.
    """

    def __init__(
        self, nodes: Sequence[Nodes], channels: int, reduction: int, grid: Sequence[int], norm: Norm, minimum: int
    ) -> None:
        super().__init__()
        self.nodes, self.grid = nodes, rows_and_columns("rga", grid)
        cells = self.grid[0] * self.grid[1]
        features = {"positions": channels, "channels": cells}
        others = {"positions": cells, "channels": channels}

        def narrow(width: int) -> int:
            return reduced(width, reduction, minimum)

        def embedding(size: int) -> nn.Sequential:
            return conv_norm_relu(size, narrow(size), 1, norm)

        def weigher(known: int) -> nn.Sequential:
            return nn.Sequential(
                *embedding(known), nn.Conv2d(narrow(known), 1, 1, bias=False), norm_layer(norm, 1), nn.Sigmoid()
            )

        self.own = nn.ModuleDict({node: embedding(features[node]) for node in nodes})
        self.related = nn.ModuleDict(
            {node: RelationEmbedding(others[node], narrow(others[node]), norm) for node in nodes}
        )
        self.weigh = nn.ModuleDict({node: weigher(1 + narrow(others[node])) for node in nodes})
        self.pair = nn.ModuleDict(
            {f"{letter}_{n}": embedding(features[n]) for n in nodes for letter in ("theta", "phi")}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for nodes in self.nodes:
            x = x * (self.of_positions(x) if nodes == "positions" else self.of_channels(x))
        return x

    def of_positions(self, x: torch.Tensor) -> torch.Tensor:
        """The gate of each position: (B, C, H, W) → (B, 1, H, W)."""
        theta, phi = self.pair["theta_positions"](x), self.pair["phi_positions"](x)
        cells = F.adaptive_avg_pool2d(theta, self.grid), F.adaptive_avg_pool2d(phi, self.grid)
        return self._gate("positions", x, (theta, phi), cells)

    def of_channels(self, x: torch.Tensor) -> torch.Tensor:
        """The gate of each channel: (B, C, H, W) → (B, C, 1, 1)."""
        nodes = rearrange(F.adaptive_avg_pool2d(x, self.grid), "b c h w -> b (h w) c 1")
        pair = self.pair["theta_channels"](nodes), self.pair["phi_channels"](nodes)
        return rearrange(self._gate("channels", nodes, pair, pair), "b 1 c 1 -> b c 1 1")

    def _gate(self, kind: Nodes, nodes: torch.Tensor, pair: Pair, others: Pair) -> torch.Tensor:
        """(B, features, height, width) of nodes, with their θ and φ and the others' → (B, 1, height, width)."""
        own = self.own[kind](nodes).mean(dim=1, keepdim=True)
        return self.weigh[kind](torch.cat([own, self.related[kind](pair, others)], dim=1))
