"""Interaction of channels (ciau), of parts of a map (siau) and of a sequence (tiau), and of all (iau)."""

import pytest
import torch
from torch import nn

from nowcast.attention.ciau import ChannelInteraction
from nowcast.attention.iau import InteractionAggregationUpdate
from nowcast.attention.siau import SpatialInteraction
from nowcast.attention.tiau import TemporalInteraction
from nowcast.contracts import InputError


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for value in [*module.parameters(), *module.buffers()]:
        if value.dtype.is_floating_point:
            nn.init.uniform_(value, 0.2, 1.0)
    return module.eval()


def layer(values: torch.Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> torch.Tensor:
    """1×1 convolution and norm under running statistics, of (C,) or of (C, N)."""
    y = conv.weight[:, :, 0, 0] @ values

    def of_channels(weight: torch.Tensor | None) -> torch.Tensor | int:
        return 0 if weight is None else weight.view(-1, *[1] * (y.ndim - 1))

    centred = y + of_channels(conv.bias) - of_channels(norm.running_mean)
    return centred / of_channels(norm.running_var + norm.eps) ** 0.5 * of_channels(norm.weight) + of_channels(norm.bias)


def informed(module: nn.Module, x: torch.Tensor, links: str) -> torch.Tensor:
    """What each frame of one sequence (T, C, H, W) is told, (T, C); one part and one edge at a time."""
    reader, published = module.reader, module.reader.sums
    nodes = {}
    for t, frame in enumerate(x):
        pixels = frame.flatten(1)
        for p, mask in enumerate(torch.sigmoid(layer(pixels, *reader.masks[:2]))):
            node = sum(share * pixel for share, pixel in zip(mask, pixels.T, strict=True))
            nodes[t, p] = reader.embed(node if published else node / mask.sum())
    whole = reader.embed(x.mean(dim=(0, 2, 3)))
    told = torch.zeros(len(x), x.shape[1])
    for t in range(len(x)):
        sums = []
        for p in range(4):
            heard = [
                (u, q)
                for u, q in nodes
                if (links != "across" and u == t and q != p) or (links != "within" and u != t and q == p)
            ]
            edges = []
            for key in heard:
                difference = (nodes[t, p] - nodes[key]).abs()
                edges.append(
                    layer(torch.cat([difference, whole]) if published else difference, *reader.graph.relate)[0]
                )
            weights = torch.stack(edges).softmax(dim=0)
            average = sum(weight * nodes[key] for weight, key in zip(weights, heard, strict=True))
            sums.append(layer(torch.cat([nodes[t, p], average]), *reader.graph.merge[:2]).clamp_min(0))
        told[t] = layer(torch.cat([torch.stack(sums).mean(dim=0), whole]), *module.update.project)
    return told


@torch.no_grad()
@pytest.mark.parametrize("published", [False, True])
def test_parts_of_a_map_inform_each_other(published):
    module = randomised(SpatialInteraction(6, published=published, norm="batch"))
    x = 0.5 * torch.randn(2, 6, 2, 3)
    for b in range(2):
        expected = x[b] + informed(module, x[b : b + 1], "within")[0, :, None, None]
        torch.testing.assert_close(module(x)[b], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("links", ["within", "across", "both"])
def test_parts_of_a_sequence_hear_only_those_they_are_linked_to(links):
    module = randomised(TemporalInteraction(6, links=links, norm="batch"))
    x = 0.5 * torch.randn(2, 3, 6, 2, 3)
    for b in range(2):
        expected = x[b] + informed(module, x[b], links)[:, :, None, None]
        torch.testing.assert_close(module(x)[b], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("scaled", [False, True])
def test_channels_average_channels_that_resemble_them(scaled):
    module = randomised(ChannelInteraction(4, scaled=scaled, norm="batch"))
    x = 0.5 * torch.randn(2, 4, 2, 3)
    for b in range(2):
        rows = x[b].flatten(1)
        mixed = []
        for row in rows:
            products = torch.stack([row @ other for other in rows]) / (6**0.5 if scaled else 1)
            mixed.append(sum(w * other for w, other in zip(products.softmax(dim=0), rows, strict=True)))
        expected = rows + layer(torch.stack(mixed), *module.update)
        torch.testing.assert_close(module(x)[b].flatten(1), expected)


@torch.no_grad()
def test_the_softmax_of_unscaled_products_picks_one_channel_on_a_large_map():
    """Why products are divided by √N: all channels but one have no say on maps of radar size."""
    x = torch.rand(1, 8, 64, 64)
    unscaled, scaled = ((x.flatten(2) @ x.flatten(2).mT * scale).softmax(dim=2) for scale in (1, 1 / 64))
    assert unscaled.amax(dim=2).min() > 0.999
    assert scaled.amax(dim=2).max() < 0.999
    assert not torch.allclose(
        *(randomised(ChannelInteraction(8, scaled=choice))(x) for choice in (True, False)), rtol=1e-3
    )


@torch.no_grad()
def test_of_one_frame_all_interactions_are_channels_then_parts():
    module = randomised(InteractionAggregationUpdate(6))
    parts = SpatialInteraction(6)
    parts.load_state_dict({key: value for key, value in module.state_dict().items() if "channel" not in key})
    x = torch.randn(2, 6, 3, 4)
    torch.testing.assert_close(module.of_map(x), parts(module.channel(x)))


@torch.no_grad()
def test_channels_of_all_frames_are_compared():
    """As if frames were so many more channels, before the projection of each frame."""
    module = randomised(ChannelInteraction(2, norm="batch"))
    x = torch.randn(1, 3, 2, 2, 3)
    rows = x.view(6, 6)
    mixed = (rows @ rows.T / 6**0.5).softmax(dim=1) @ rows
    expected = torch.stack([layer(frame, *module.update) for frame in mixed.view(3, 2, 6)]).view_as(x)
    torch.testing.assert_close(module.over_frames(x), x + expected)


@torch.no_grad()
def test_the_layout_of_volumes_is_that_of_sequences_transposed():
    module = randomised(InteractionAggregationUpdate(6))
    x = torch.randn(2, 3, 6, 2, 4)
    torch.testing.assert_close(module.of_volume(x.transpose(1, 2)), module(x).transpose(1, 2))


@torch.no_grad()
@pytest.mark.parametrize("member", [ChannelInteraction, SpatialInteraction])
def test_at_first_nothing_is_added(member):
    x = torch.randn(2, 6, 3, 3)
    assert torch.equal(member(6)(x), x)


@torch.no_grad()
def test_terms_that_all_edges_share_have_no_effect():
    """Hence none by default: they could never learn."""
    module = randomised(SpatialInteraction(6, published=True))
    x = torch.randn(2, 6, 3, 3)
    expected = module(x)
    edge = module.reader.graph.relate
    edge[0].weight[:, 3:].mul_(3)
    edge[0].bias.add_(2)
    edge[1].bias.add_(2)
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_means_of_parts_do_not_grow_with_the_map_but_sums_do():
    x = torch.randn(1, 6, 3, 3)
    twice = x.repeat(1, 1, 2, 2)
    mean, total = (randomised(SpatialInteraction(6, norm="batch", published=published)) for published in (False, True))
    torch.testing.assert_close(mean(twice)[..., :3, :3], mean(x))
    assert not torch.allclose(total(twice)[..., :3, :3], total(x))


@torch.no_grad()
def test_with_the_graph_alone_each_pixel_is_given_the_nodes_of_its_classes():
    torch.manual_seed(0)
    module = SpatialInteraction(4, learnt="graph")
    x = torch.randn(1, 4, 2, 3)
    level = x.mean(dim=1).flatten()
    level = (level - level.mean()) / (level.var(correction=0) + 1e-6) ** 0.5
    y = x.clone().flatten(2)
    shares = [torch.tensor([-4 * (value - c) ** 2 for c in (-1.5, -0.5, 0.5, 1.5)]).softmax(dim=0) for value in level]
    areas = sum(shares)
    nodes = sum(share[:, None] * pixel for share, pixel in zip(shares, x[0].flatten(1).T, strict=True)) / areas[:, None]
    found = module.interact(nodes[None], x.mean(dim=(2, 3)))[0]
    for n, share in enumerate(shares):
        y[0, :, n] += share @ found
    torch.testing.assert_close(module(x).flatten(2), y, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_part_without_links_hears_itself():
    module = randomised(TemporalInteraction(4, learnt="graph"))
    node, whole = torch.rand(1, 1, 2, 4), torch.rand(1, 4)
    doubled = torch.cat([node, node], dim=3).view(2, 8, 1, 1)
    torch.testing.assert_close(module.interact(node, whole).view(2, 4, 1, 1), module.reader.graph.merge(doubled))


def test_no_parts_are_refused():
    with pytest.raises(InputError, match="4 are usual"):
        SpatialInteraction(8, parts=0)
