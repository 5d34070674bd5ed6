"""Parts of maps that inform each other, what siau, tiau and iau have in common."""

from typing import Literal

import torch
from einops import rearrange, reduce
from torch import nn

from nowcast.attention._norm import Norm, norm_layer
from nowcast.contracts import InputError

Links = Literal["within", "across", "both"]
Learnt = Literal["all", "graph"]


def zero_projection(inputs: int, channels: int, norm: Norm) -> nn.Sequential:
    """1×1 convolution and a norm of scale 0, so that what it is added to is at first unchanged."""
    projection = nn.Sequential(nn.Conv2d(inputs, channels, 1), norm_layer(norm, channels))
    for weight in projection[-1].parameters():
        nn.init.zeros_(weight)
    return projection


def project_frames(project: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A module of maps applied to each frame: (B, T, C, H, W) → (B, T, C', H, W)."""
    return project(rearrange(x, "b t c h w -> (b t) c h w")).unflatten(0, x.shape[:2])


class IntensityClasses(nn.Module):
    """Shares of each pixel in classes of weak to strong mean value, summing to 1: (B, C, H, W) → (B, parts, H, W).

    Classes stand for −1.5 to 1.5 standard deviations of the map's pixels.
    """

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        level = x.mean(dim=1, keepdim=True)
        variance, mean = torch.var_mean(level, dim=(2, 3), correction=0, keepdim=True)
        level = (level - mean) * (variance + 1e-6).rsqrt()
        classes = torch.linspace(-1.5, 1.5, self.parts, dtype=x.dtype, device=x.device)
        return (-self.parts * (level - rearrange(classes, "p -> p 1 1")) ** 2).softmax(dim=1)


class PartGraph(nn.Module):
    """Each part told by the others of what kind they are: sᵢ = δ(norm W [nᵢ; Σⱼ softmax_j(norm w|nᵢ − nⱼ|) nⱼ]).

    Args:
        channels: of a part.
        links: which others a part hears: those of its frame ("within"), itself in other frames ("across"), or
            both. A part without any hears itself.
        published: whether w also has a bias, a shift and weights of the whole map's node, as in the authors'
            code. All parts have these in common, so that no softmax over them can notice.
        norm: both norms.
    """

    def __init__(self, channels: int, links: Links, published: bool, norm: Norm) -> None:
        super().__init__()
        self.links = links
        edge_norm = norm_layer(norm, 1)
        if not published:
            edge_norm.register_parameter("bias", None)
        self.published = published
        self.relate = nn.Sequential(nn.Conv2d((1 + published) * channels, 1, 1, bias=published), edge_norm)
        self.merge = nn.Sequential(nn.Conv2d(2 * channels, channels, 1), norm_layer(norm, channels), nn.ReLU())

    def forward(self, nodes: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
        """Nodes of parts (B, T, parts, C) and of the whole sequence (B, C) → (B, T, parts, C)."""
        _, frames, parts, _ = nodes.shape
        flat = rearrange(nodes, "b t p c -> b (t p) c")
        pairs = (rearrange(flat, "b i c -> b c i 1") - rearrange(flat, "b j c -> b c 1 j")).abs()
        if self.published:
            pairs = torch.cat([pairs, rearrange(whole, "b c -> b c 1 1").expand_as(pairs)], dim=1)
        edges = rearrange(self.relate(pairs), "b 1 i j -> b i j")
        heard = self._heard(frames, parts, nodes.device)
        weights = edges.masked_fill(~heard, torch.finfo(edges.dtype).min).softmax(dim=2)
        joined = torch.cat([flat, weights @ flat], dim=2)
        merged = self.merge(rearrange(joined, "b n c -> (b n) c 1 1"))
        return rearrange(merged, "(b t p) c 1 1 -> b t p c", t=frames, p=parts)

    def _heard(self, frames: int, parts: int, device: torch.device) -> torch.Tensor:
        """Which nodes a node hears, (T·parts, T·parts)."""
        frame, part = torch.cartesian_prod(*(torch.arange(n, device=device) for n in (frames, parts))).unbind(1)
        same_frame, same_part = frame[:, None] == frame, part[:, None] == part
        within, across = same_frame & ~same_part, same_part & ~same_frame
        heard = {"within": within, "across": across, "both": within | across}[self.links]
        return heard | (same_frame & same_part & ~heard.any(dim=1, keepdim=True))


class PartReader(nn.Module):
    """Divide maps into parts, describe each by one node, and let the nodes inform each other.

    Args:
        channels: C.
        parts: how many.
        reduction: C / width of a node.
        links: between parts that hear each other.
        learnt: "all", where masks σ(norm W x) and nodes of reduced width are learnt, or "graph", where parts are
            classes of intensity and nodes have all C channels.
        published: whether parts are sums over pixels as in the authors' code, in place of means, and the graph is
            as there.
        norm: all norms.

    Raises:
        InputError: for less than one part.
    """

    def __init__(
        self, channels: int, parts: int, reduction: int, links: Links, learnt: Learnt, published: bool, norm: Norm
    ) -> None:
        super().__init__()
        if parts < 1:
            raise InputError(f"interaction needs parts, not {parts}; 4 are usual")
        self.sums = published
        self.width = max(channels // reduction, 1) if learnt == "all" else channels
        self.masks: nn.Module = IntensityClasses(parts)
        self.embed: nn.Module = nn.Identity()
        if learnt == "all":
            self.masks = nn.Sequential(nn.Conv2d(channels, parts, 1), norm_layer(norm, parts), nn.Sigmoid())
            self.embed = nn.Linear(channels, self.width)
        self.graph = PartGraph(self.width, links, published, norm)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Masks (B, T, parts, H, W), informed nodes (B, T, parts, width), the whole (B, width) of (B, T, C, H, W)."""
        masks = project_frames(self.masks, x)
        nodes = torch.einsum("btphw, btchw -> btpc", masks, x)
        if not self.sums:
            area = reduce(masks, "b t p h w -> b t p 1", "sum")
            nodes = nodes / area.clamp_min(torch.finfo(area.dtype).tiny)
        whole = self.embed(reduce(x, "b t c h w -> b c", "mean"))
        return masks, self.graph(self.embed(nodes), whole), whole


class PartUpdate(nn.Module):
    """What all parts of a frame and the whole sequence say to every pixel of the frame: a projection, 0 at first."""

    def __init__(self, width: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.project = zero_projection(2 * width, channels, norm)

    def forward(self, nodes: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
        """Nodes (B, T, parts, width) and the whole (B, width) → (B, T, C, 1, 1)."""
        mean = nodes.mean(dim=2)
        said = torch.cat([mean, whole.unsqueeze(1).expand_as(mean)], dim=2)
        return project_frames(self.project, rearrange(said, "b t c -> b t c 1 1"))


class PartInteraction(nn.Module):
    """Frames corrected by what their parts have learnt of each other: (B, T, C, H, W) → (B, T, C, H, W).

    Where only the graph is learnt, every pixel is given the nodes of the parts that it belongs to; else all
    pixels of a frame are given a projection of the mean of its nodes and the whole.

    Args:
        as in `PartReader`.
    """

    def __init__(
        self, channels: int, parts: int, reduction: int, links: Links, learnt: Learnt, published: bool, norm: Norm
    ) -> None:
        super().__init__()
        self.reader = PartReader(channels, parts, reduction, links, learnt, published, norm)
        self.update = PartUpdate(self.reader.width, channels, norm) if learnt == "all" else None

    def interact(self, nodes: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
        """The graph alone: nodes (B, T, parts, width), or without T, and the whole (B, width) → as nodes."""
        if nodes.ndim == 3:
            return self.reader.graph(nodes.unsqueeze(1), whole).squeeze(1)
        return self.reader.graph(nodes, whole)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        masks, nodes, whole = self.reader(x)
        if self.update is None:
            return x + torch.einsum("btphw, btpc -> btchw", masks, nodes)
        return x + self.update(nodes, whole)
