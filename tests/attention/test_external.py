"""External attention."""

import pytest
import torch

from nowcast.attention.external import ExternalAttention
from nowcast.contracts import InputError


def read(pixels: list[torch.Tensor], keys: torch.nn.Conv1d, values: torch.nn.Conv1d) -> list[torch.Tensor]:
    """What each pixel finds in the memories, slot by slot."""
    slots = []
    for row in keys.weight[:, :, 0]:
        odds = [torch.exp(row @ pixel) for pixel in pixels]
        slots.append([odd / sum(odds) for odd in odds])
    found = []
    for n in range(len(pixels)):
        total = sum(slot[n] for slot in slots)
        bias = 0 if values.bias is None else values.bias
        found.append(sum(values.weight[:, s, 0] * slot[n] / total for s, slot in enumerate(slots)) + bias)
    return found


def apply(conv: torch.nn.Conv2d, pixels: list[torch.Tensor]) -> list[torch.Tensor]:
    bias = 0 if conv.bias is None else conv.bias
    return [conv.weight[:, :, 0, 0] @ pixel + bias for pixel in pixels]


@torch.no_grad()
@pytest.mark.parametrize("form", ["core", "block", "heads"])
def test_it_is_the_formula_pixel_by_pixel(form):
    torch.manual_seed(0)
    module = ExternalAttention(4, form=form, slots=3, heads=2)
    for weight in module.parameters():
        torch.nn.init.normal_(weight)
    x = torch.randn(2, 4, 3, 2)
    for b in range(2):
        pixels = list(x[b].flatten(1).T)
        if form == "core":
            expected = read(pixels, module.keys, module.values)
        elif form == "block":
            conv, norm = module.back
            found = read(apply(module.project, pixels), module.keys, module.values)
            y = torch.stack(apply(conv, found))
            y = (y - y.mean()) / (y.var(correction=0) + 1e-5) ** 0.5 * norm.weight + norm.bias
            expected = list((torch.stack(pixels) + y).clamp_min(0))
        else:
            wide = apply(module.project, pixels)  # of 16 channels, in 8 heads of 2
            heads = [
                read([pixel[first : first + 2] for pixel in wide], module.keys, module.values)
                for first in range(0, 16, 2)
            ]
            found = [torch.cat(parts) for parts in zip(*heads, strict=True)]
            expected = apply(module.back, found)
        result = module(x)[b].flatten(1).T
        torch.testing.assert_close(result, torch.stack(expected), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_weights_of_a_pixel_sum_to_one():
    """The sum over slots is taken last: a memory that holds one value gives it everywhere."""
    torch.manual_seed(0)
    module = ExternalAttention(6)
    value = torch.randn(6)
    module.values.weight.copy_(value[:, None, None].expand_as(module.values.weight))
    y = module(torch.randn(2, 6, 3, 4))
    torch.testing.assert_close(y, value[None, :, None, None].expand_as(y))


@pytest.mark.parametrize("form", ["block", "heads"])
def test_biases_before_the_softmax_have_no_effect(form):
    """Hence there are none by default: they could never learn."""
    torch.manual_seed(0)
    module = ExternalAttention(8, form=form, bias=True)
    x = torch.randn(2, 8, 3, 4)
    expected = module(x)
    module.project.bias.data.normal_()
    if form == "heads":
        module.keys.bias.data.normal_()
    torch.testing.assert_close(module(x), expected)


def test_the_published_numbers_of_weights_of_all_forms_come_out():
    def count(**options) -> int:
        return sum(weight.numel() for weight in ExternalAttention(64, bias=True, **options).parameters())

    assert count() == 8192
    assert count(form="block") == 16_576
    assert count(form="heads") == 34_184


def test_the_two_memories_are_separate():
    """In the authors' code the second starts as a view of the first, and learns both their steps."""
    module = ExternalAttention(8)
    assert module.keys.weight.data_ptr() != module.values.weight.data_ptr()
    assert not torch.equal(module.keys.weight[:, :, 0].T, module.values.weight[:, :, 0])


def test_an_empty_memory_and_heads_that_do_not_divide_are_refused():
    with pytest.raises(InputError, match="1 or more"):
        ExternalAttention(8, slots=0)
    with pytest.raises(InputError, match="1, 2, 4, 8 would do"):
        ExternalAttention(8, form="heads", heads=3)
