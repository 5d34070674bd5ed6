"""RecoNet's tensor reconstruction."""

import pytest
import torch
import torch.nn.functional as F

from nowcast.attention.reconet import TensorReconstructionAttention
from nowcast.contracts import InputError


def built(**options) -> TensorReconstructionAttention:
    """A module of 4 channels with generators and λ of some size."""
    torch.manual_seed(0)
    module = TensorReconstructionAttention(4, **options)
    for weight in module.parameters():
        torch.nn.init.normal_(weight)
    return module


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 4, 5, 3)


@torch.no_grad()
def test_the_attention_is_the_sum_over_ranks_of_outer_products(x):
    rank = 3
    module = built(rank=rank, fixed_size=(5, 3))
    generators = [
        list(part.generate.weight.split(part.length))  # r matrices of L × L
        for part in (module.channels, module.rows, module.columns)
    ]
    shares = torch.exp(module.logits) / torch.exp(module.logits).sum()
    expected = torch.zeros_like(x)
    for b in range(2):
        profiles = [x[b].mean(dim=[d for d in range(3) if d != axis]) for axis in range(3)]
        for i in range(rank):
            c, h, w = (
                1 / (1 + torch.exp(-(matrices[i] @ profile)))
                for matrices, profile in zip(generators, profiles, strict=True)
            )
            for place in torch.cartesian_prod(torch.arange(4), torch.arange(5), torch.arange(3)):
                k, m, n = place.tolist()
                expected[b, k, m, n] += shares[i] * c[k] * h[m] * w[n]
    torch.testing.assert_close(module.reconstruct(x), expected)


@torch.no_grad()
def test_by_default_factors_come_from_a_convolution_along_their_own_axis(x):
    """On a map whose rows are equal, row factors differ at the borders alone."""
    module = built(rank=2)
    flat = x[:, :, :1].expand(-1, -1, 5, -1)
    attention = module.reconstruct(flat)
    torch.testing.assert_close(attention[:, :, 1:-1], attention[:, :, 1:2].expand(-1, -1, 3, -1))
    rows = module.rows(x.mean(dim=3), 5)
    padded = F.pad(x.mean(dim=3), (1, 1))
    for i in range(5):
        logits = torch.einsum("rck, bck -> br", module.rows.generate.weight, padded[:, :, i : i + 3])
        torch.testing.assert_close(rows[:, :, i], torch.sigmoid(logits + module.rows.generate.bias))


@torch.no_grad()
def test_maps_of_another_size_see_the_interpolated_attention_of_the_pooled_map(x):
    module = built(rank=3, fixed_size=(5, 3))
    larger = torch.randn(2, 4, 10, 6)
    expected = F.interpolate(module.reconstruct(F.avg_pool2d(larger, 2)), (10, 6), mode="bilinear")
    torch.testing.assert_close(module.reconstruct(larger), expected)


@torch.no_grad()
def test_the_output_is_the_product_or_the_fused_pair(x):
    product = built(rank=2, output="product")
    torch.testing.assert_close(product(x), x * product.reconstruct(x))
    fused = built(rank=2)
    pair = torch.cat([x, (x * fused.reconstruct(x)).clamp_min(0)], dim=1)
    expected = torch.einsum("oi, bihw -> bohw", fused.fuse.weight[..., 0, 0], pair)
    torch.testing.assert_close(fused(x), expected + fused.fuse.bias[:, None, None])


def test_a_second_backward_pass_is_possible_and_reaches_the_weights_of_the_ranks(x):
    """The released λ is no parameter, and its graph is kept from call to call."""
    module = built(rank=3)
    for _ in range(2):
        module.logits.grad = None
        module(x).square().sum().backward()
        assert module.logits.grad.abs().min() > 0


def test_an_empty_size_and_an_even_kernel_are_refused():
    with pytest.raises(InputError, match="starts at 1"):
        TensorReconstructionAttention(4, rank=0)
    with pytest.raises(InputError, match="rows and columns"):
        TensorReconstructionAttention(4, fixed_size=(0, 3))
    with pytest.raises(InputError, match="odd kernel"):
        TensorReconstructionAttention(4, kernel=2)
