"""Polarized self-attention."""

import pytest
import torch

from nowcast.attention.polarized import PolarizedSelfAttention


def sigmoid(logit: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + torch.exp(-logit))


def weights(logits: list[torch.Tensor]) -> list[torch.Tensor]:
    """A softmax."""
    return [torch.exp(logit) / sum(torch.exp(other) for other in logits) for logit in logits]


def matrices(gate: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(gate.project[name].weight[:, :, 0, 0] for name in ("query", "value"))


def layer_norm(values: torch.Tensor, layer: torch.nn.LayerNorm) -> torch.Tensor:
    standard = (values - values.mean()) / (values.var(correction=0) + 1e-5) ** 0.5
    return standard * layer.weight + layer.bias


def channel_gate(module: PolarizedSelfAttention, pixels: torch.Tensor, form: str) -> torch.Tensor:
    """(N, C) → (C,), position by position."""
    query, value = matrices(module.channel)
    share = weights([(query @ pixel)[0] for pixel in pixels])
    context = sum(weight * (value @ pixel) for weight, pixel in zip(share, pixels, strict=True))
    first, *others = module.channel.transform
    logits = first.weight @ context
    if form == "paper":
        return sigmoid(layer_norm(logits, others[0]))
    if module.order == "parallel":
        return sigmoid(logits)
    norm, _, last = others
    return sigmoid(last.weight @ layer_norm(logits + first.bias, norm).clamp_min(0) + last.bias)


def position_gate(module: PolarizedSelfAttention, pixels: torch.Tensor, form: str) -> torch.Tensor:
    """(N, C) → (N,), position by position."""
    query, value = matrices(module.position)
    asked = sum(query @ pixel for pixel in pixels) / len(pixels)
    values = [value @ pixel for pixel in pixels]
    if form == "paper":
        return sigmoid(torch.stack([torch.stack(weights(list(asked))) @ v for v in values]))
    if module.order == "parallel":
        return sigmoid(torch.stack(weights([asked @ v for v in values])))
    shares = [torch.stack(weights(list(channel))) for channel in torch.stack(values, dim=1)]
    return sigmoid(sum(a * share for a, share in zip(asked, shares, strict=True)))


@torch.no_grad()
@pytest.mark.parametrize("order", ["parallel", "sequential"])
@pytest.mark.parametrize("form", ["paper", "code"])
def test_it_is_the_formula_position_by_position(order, form):
    torch.manual_seed(0)
    module = PolarizedSelfAttention(16, order=order, form=form)
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    x = torch.randn(2, 16, 3, 2)
    for b in range(2):
        pixels = x[b].flatten(1).T
        first = pixels * channel_gate(module, pixels, form)
        if order == "parallel":
            expected = first + pixels * position_gate(module, pixels, form)[:, None]
        else:
            expected = first * position_gate(module, first, form)[:, None]
        torch.testing.assert_close(module(x)[b].flatten(1).T, expected, rtol=1e-4, atol=1e-5)


def test_the_published_numbers_of_weights_of_all_forms_come_out():
    def count(**options) -> int:
        return sum(weight.numel() for weight in PolarizedSelfAttention(64, **options).parameters())

    assert count(bias=True) == count(bias=True, order="sequential") == 8545
    assert count(form="code") == 8256
    assert count(form="code", order="sequential") == 7064


def test_the_bias_of_the_channel_query_has_no_effect():
    """Hence no biases by default: it could never learn."""
    module = PolarizedSelfAttention(8, bias=True)
    x = torch.randn(2, 8, 3, 5)
    expected = module(x)
    module.channel.project["query"].bias.data.add_(7)
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_the_parallel_gate_of_positions_of_the_released_code_is_nearly_a_half_everywhere():
    """A softmax over N positions has mean 1/N, so the gates have mean σ(1/N) at most and hardly vary."""
    torch.manual_seed(0)
    x = torch.randn(1, 64, 32, 32)
    code = PolarizedSelfAttention(64, form="code").position(x)
    paper = PolarizedSelfAttention(64).position(x)
    assert (code - 0.5).abs().max() < 0.01
    assert (paper - 0.5).abs().max() > 0.05
