"""Dual attention head."""

import pytest
import torch
from torch import nn

from nowcast.attention.cam import ChannelAttention
from nowcast.attention.danet import DualAttention
from nowcast.attention.pam import PositionAttention
from nowcast.contracts import InputError


def built(**options) -> DualAttention:
    torch.manual_seed(0)
    module = DualAttention(16, **options).eval()
    for part in (module.position, module.channel):
        nn.init.constant_(part.gamma, 0.8)
    return module


@torch.no_grad()
def test_both_attentions_see_the_input_side_by_side():
    """Not one after the other, as is sometimes told."""
    module, x = built(), torch.randn(2, 16, 4, 5)
    parts: dict[str, nn.Module] = {"position": PositionAttention(8), "channel": ChannelAttention(8)}
    total = 0
    for name, part in parts.items():
        part.load_state_dict(getattr(module, name).state_dict())
        total = total + getattr(module, f"after_{name}")(part(getattr(module, f"before_{name}")(x)))
    torch.testing.assert_close(module(x), module.project(total))


@torch.no_grad()
def test_each_part_begins_and_ends_with_a_convolution_norm_and_rectifier():
    module, x = built(norm="batch"), torch.randn(1, 16, 3, 3)
    convolution, norm, _ = module.before_position
    norm.running_mean.fill_(0.3)
    norm.running_var.fill_(2.0)
    patches = nn.functional.unfold(x, 3, padding=1)
    rows = convolution.weight.flatten(1) @ patches[0]
    expected = ((rows - 0.3) / (2 + 1e-5) ** 0.5).clamp_min(0)
    torch.testing.assert_close(module.before_position(x).flatten(2)[0], expected)
    assert all(branch.min() >= 0 for branch in module.branches(x))


@torch.no_grad()
def test_auxiliary_outputs_are_of_one_branch_each():
    module, x = built(auxiliary=True), torch.randn(2, 16, 4, 3)
    before = module.outputs(x)
    torch.testing.assert_close(before[0], module(x))
    for weight in module.after_channel.parameters():
        weight.mul_(2)
    changed = [not torch.equal(old, new) for old, new in zip(before, module.outputs(x), strict=True)]
    assert changed == [True, False, True]


def test_without_auxiliary_outputs_there_are_none():
    with pytest.raises(InputError, match="auxiliary=True"):
        DualAttention(16).outputs(torch.randn(1, 16, 2, 2))


@torch.no_grad()
@pytest.mark.parametrize("options", [{"form": "code"}, {"divisor": "pixels"}])
def test_form_and_divisor_are_those_of_the_channel_attention(options):
    x = torch.randn(1, 16, 4, 4)
    paper, other = built(), built(**options)
    torch.testing.assert_close(paper.branches(x)[0], other.branches(x)[0])
    assert not torch.allclose(paper.branches(x)[1], other.branches(x)[1])


@torch.no_grad()
def test_on_a_large_map_the_norm_hides_a_channel_attention_that_is_not_divided():
    x = torch.randn(1, 16, 48, 48)
    for divisor, hidden in ((None, True), ("pixels", False)):
        module = built(divisor=divisor)
        before = module.branches(x)[1]
        module.channel.gamma.fill_(3.0)
        assert torch.allclose(module.branches(x)[1], before, atol=1e-3) == hidden
