"""Earthformer: the paper's size, its cuts pixel by pixel, cuboid attention against explicit loops."""

import itertools

import pytest
import torch
from einops import rearrange
from torch.nn import functional as F

from nowcast.contracts import InputError
from nowcast.models._cuboid import PATTERNS, Cuboid, CuboidAttention, Cut, FramesAttention
from nowcast.models.earthformer import Earthformer


# The authors' layers (amazon-science/earth-forecasting-transformer) summed for their MovingMNIST configuration,
# scripts/cuboid_transformer/moving_mnist/cfg.yaml, without global vectors and with 8 of shared projections. Theirs
# learn 1024 · 64 + 256 · 128 numbers for places of the map, which is most of what ours have less.
@pytest.mark.parametrize(("vectors", "count"), [(0, 6_739_165), (8, 7_737_949)])
def test_it_has_as_many_weights_as_the_authors_code(vectors: int, count: int) -> None:
    with torch.device("meta"):
        network = Earthformer(10, 10, stem=[(2, 64)], blocks=[4, 4], vectors=vectors)
    assert sum(weight.numel() for weight in network.parameters()) == pytest.approx(count, rel=0.02)


def members(cuboid: Cuboid, length: int, axis: int) -> list[list[int]]:
    """Which places along an axis stand in which cuboid, without shift."""
    size = min(cuboid.size[axis] or length, length)
    count = -(-length // size)
    if cuboid.dilated and axis > 0:
        return [[start + k * count for k in range(size)] for start in range(count)]
    return [[start * size + k for k in range(size)] for start in range(count)]


ODD = {
    "local": Cuboid((2, 3, 4)),
    "dilated": Cuboid((None, 2, 3), dilated=True),
    "axial": Cuboid((1, None, 1)),
    "shifted": Cuboid((2, 4, 2), shifted=True),
}


@pytest.mark.parametrize("name", ODD)
def test_cuts_come_together_again_and_hold_the_pixels_they_should(name: str) -> None:
    cuboid, shape = ODD[name], (3, 7, 5)
    cut = Cut(cuboid, shape, torch.device("cpu"))
    x = torch.arange(1.0, 106.0).view(1, *shape, 1)
    apart = cut.apart(x)
    torch.testing.assert_close(cut.together(apart), x)
    if cuboid.shifted:
        return
    places = [members(cuboid, length, axis) for axis, length in enumerate(shape)]
    for number, sides in enumerate(itertools.product(*places)):
        expected = [
            x[0, t, h, w, 0].item() if t < 3 and h < 7 and w < 5 else 0.0 for t, h, w in itertools.product(*sides)
        ]
        assert apart[0, number, :, 0].tolist() == expected


@pytest.mark.parametrize("name", ODD)
def test_pixels_attend_to_their_cuboid_and_to_vectors_that_see_all(name: str) -> None:
    """Twin with a loop over every pixel and its partners, named by their places."""
    torch.manual_seed(0)
    cuboid, shape, heads, channels = ODD[name], (3, 7, 5), 2, 6
    layer = CuboidAttention(channels, heads, cuboid, (3, 3, 3), reads=True, writes=True).double()
    torch.nn.init.normal_(layer.bias.table)
    x, g = torch.randn(2, *shape, channels).double(), torch.randn(2, 4, channels).double()
    change, of_vectors = layer(x, g)

    def split(y: torch.Tensor, parts: int) -> torch.Tensor:
        return rearrange(y, "... (parts heads c) -> parts ... heads c", parts=parts, heads=heads)

    q, k, v = split(layer.qkv(layer.norm(x)), 3)
    normed = layer.vector_norm(g)
    (vector_q,), (vector_k, vector_v) = split(layer.vector_q(normed), 1), split(layer.vector_kv(normed), 2)
    sizes = [min(size or length, length) for size, length in zip(cuboid.size, shape, strict=True)]
    shift = [size // 2 if cuboid.shifted and size < length else 0 for size, length in zip(sizes, shape, strict=True)]
    counts = [-(-length // size) for size, length in zip(sizes, shape, strict=True)]
    most = layer.bias.most

    def cell(place: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Which cuboid a pixel is in, and where in it; what a shift moves across the seam is in none but its own."""
        which, where = [], []
        for axis, index in enumerate(place):
            moved = index - shift[axis]
            if cuboid.dilated and axis > 0:
                which.append(index % counts[axis])
                where.append(index // counts[axis])
            else:
                which.append(moved // sizes[axis])
                where.append(moved % sizes[axis])
        return tuple(which), tuple(where)

    def score(mine: tuple[int, ...], other: tuple[int, ...]) -> torch.Tensor:
        index = 0
        for axis in range(3):
            offset = max(1 - most[axis], min(most[axis] - 1, mine[axis] - other[axis]))
            index = index * (2 * most[axis] - 1) + offset + most[axis] - 1
        return layer.bias.table[:, index]

    places = list(itertools.product(*map(range, shape)))
    cells = {place: cell(place) for place in places}
    scale = (channels // heads) ** -0.5
    expected = torch.zeros_like(x)
    for sample, place in itertools.product(range(2), places):
        partners = [other for other in places if cells[other][0] == cells[place][0]]
        keys = torch.stack([k[(sample, *other)] for other in partners] + list(vector_k[sample]))
        values = torch.stack([v[(sample, *other)] for other in partners] + list(vector_v[sample]))
        bias = torch.stack([score(cells[place][1], cells[other][1]) for other in partners])
        logits = torch.einsum("hc,nhc->nh", q[(sample, *place)], keys) * scale + F.pad(bias, (0, 0, 0, 4))
        expected[(sample, *place)] = torch.einsum("nh,nhc->hc", logits.softmax(dim=0), values).flatten()
    torch.testing.assert_close(change, layer.project(expected))

    keys = torch.cat([rearrange(k, "b t h w heads c -> b (t h w) heads c"), vector_k], dim=1)
    values = torch.cat([rearrange(v, "b t h w heads c -> b (t h w) heads c"), vector_v], dim=1)
    weights = (torch.einsum("bghc,bnhc->bghn", vector_q, keys) * scale).softmax(dim=-1)
    gathered = torch.einsum("bghn,bnhc->bghc", weights, values).flatten(2)
    torch.testing.assert_close(of_vectors, layer.vector_project(gathered))


def test_a_lead_time_asks_the_past_frames_at_its_place() -> None:
    torch.manual_seed(0)
    attention = FramesAttention(6, 2, past_frames=3, steps=4).double()
    x, memory = torch.randn(2, 4, 5, 3, 6).double(), torch.randn(2, 3, 5, 3, 6).double()
    got = attention(x, memory)
    one = attention(x[1:, :, 2:3, 1:2], memory[1:, :, 2:3, 1:2])
    torch.testing.assert_close(got[1:, :, 2:3, 1:2], one)
    query = attention.query(attention.norm(x))[1, 3, 2, 1].view(2, 3)
    key, value = attention.key_value(memory[1, :, 2, 1]).view(3, 2, 2, 3).unbind(dim=1)
    weights = (torch.einsum("hc,thc->ht", query, key) / 3**0.5 + attention.table[:, 3]).softmax(dim=1)
    y = x[1, 3, 2, 1] + attention.project(torch.einsum("ht,thc->hc", weights, value).flatten())
    torch.testing.assert_close(got[1, 3, 2, 1], y + attention.perceptron(y))


def reach(network: Earthformer) -> torch.Tensor:
    """Where the forecast changes when one pixel of the past does, (H, W)."""
    past = torch.zeros(1, 3, 1, 32, 48)
    touched = past.clone()
    touched[:, 1, :, 2, 2] = 1
    with torch.no_grad():
        return (network(touched) - network(past)).abs().amax(dim=(0, 1, 2))


def test_without_vectors_windows_do_not_hear_of_one_another_and_with_them_all_do() -> None:
    """Convolutions reach a little beyond a window; the far corner hears of the near one by global vectors alone."""
    torch.manual_seed(0)
    own = {"stem": [(1, 8)], "heads": 2, "blocks": [2], "pattern": "shifted", "residual": False}
    for vectors in (0, 2):
        network = Earthformer(3, 2, vectors=vectors, **own)
        for module in network.modules():
            if isinstance(module, torch.nn.GroupNorm):
                module.forward = lambda x: x  # its statistics would couple everything
        assert (reach(network)[20:, 36:].max() > 0) == bool(vectors)
        assert reach(network)[2, 2] > 0


def test_it_may_have_levels_and_factors_as_on_sevir() -> None:
    network = Earthformer(3, 2, stem=[(3, 4), (2, 16), (2, 32)], blocks=[1, 1, 1], residual=False)
    forecast = network(torch.rand(1, 3, 1, 50, 31))
    assert forecast.shape == (1, 2, 1, 50, 31)
    assert network.multiple == 48
    assert [module.merge.factor for module in network.stem] == [3, 2, 2]


def test_sizes_that_do_not_fit_are_said() -> None:
    with pytest.raises(InputError, match="3 heads do not divide it"):
        Earthformer(3, 2, heads=3)
    with pytest.raises(InputError, match="levels of 1 or more blocks"):
        Earthformer(3, 2, blocks=[])
    assert set(PATTERNS) == {"axial", "divided", "local_dilated", "shifted"}
