"""A proposed box under a lens."""

import math

import pytest
import torch

from nowcast.attention.attention_proposal import AttentionProposal
from nowcast.contracts import InputError


def logistic(t: float) -> float:
    return 1 / (1 + math.exp(-min(max(t, -60), 60)))


def value(map_: torch.Tensor, row: float, column: float) -> torch.Tensor:
    """(C, H, W) between pixels; beyond the outermost of them, as on them."""
    row, column = (min(max(at, 0), size - 1) for at, size in zip((row, column), map_.shape[1:], strict=True))
    total = torch.zeros(len(map_))
    for i in {math.floor(row), math.ceil(row)}:
        for j in {math.floor(column), math.ceil(column)}:
            total += (1 - abs(row - i)) * (1 - abs(column - j)) * map_[:, i, j]
    return total


@torch.no_grad()
def test_what_the_lens_shows_is_added_in_the_box():
    torch.manual_seed(0)
    module = AttentionProposal(4, grid=(2, 3), zoom=5, sharpness=3, smallest=0.2)
    for weight in module.propose.parameters():
        weight.mul_(4)
    x = torch.randn(2, 4, 7, 6)
    for b in range(2):
        narrow = module.narrow(x[b : b + 1])
        raw = module.propose(torch.nn.functional.adaptive_avg_pool2d(narrow, (2, 3)).flatten(1))[0].sigmoid()
        half = 0.2 + 0.3 * float(raw[2])
        top, left = (float(half + (1 - 2 * half) * share) - half for share in raw[:2])
        sides = [
            [
                logistic(3 * (i + 0.5 - low * size)) - logistic(3 * (i + 0.5 - (low + 2 * half) * size))
                for i in range(size)
            ]
            for low, size in ((top, 7), (left, 6))
        ]
        mask = torch.tensor([[row * column for column in sides[1]] for row in sides[0]])
        enlarged = torch.zeros(4, 5, 5)
        for i in range(5):
            for j in range(5):
                at = [(low + 2 * half * (k + 0.5) / 5) * size - 0.5 for low, k, size in ((top, i, 7), (left, j, 6))]
                enlarged[:, i, j] = value(x[b] * mask, *at)
        seen, expected = module.look(enlarged[None])[0], x[b].clone()
        for i in range(7):
            for j in range(6):
                at = [((k + 0.5) / size - low) / (2 * half) * 5 - 0.5 for low, k, size in ((top, i, 7), (left, j, 6))]
                expected[:, i, j] += mask[i, j] * value(seen, *at)
        torch.testing.assert_close(module(x)[b], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_box_lies_in_the_map_and_is_not_smaller_than_asked():
    torch.manual_seed(0)
    module = AttentionProposal(4, smallest=0.25)
    boxes = module.box(100 * torch.randn(200, 4, 9, 9))
    half = boxes[:, 2:]
    assert (half >= 0.25).all()
    assert (boxes[:, :2] - half >= -1e-6).all()
    assert (boxes[:, :2] + half <= 1 + 1e-6).all()
    assert boxes.std(dim=0).min() > 0.01


@torch.no_grad()
def test_the_mask_is_one_within_and_zero_without():
    module = AttentionProposal(4)
    mask = module.mask(torch.zeros(1, 4, 20, 30), torch.tensor([[0.5, 0.3, 0.2]]))[0, 0]
    expected = torch.zeros(20, 30)
    expected[6:14, 3:15] = 1
    torch.testing.assert_close(mask, expected, atol=0.02, rtol=0)


@torch.no_grad()
def test_nothing_changes_far_from_the_box():
    torch.manual_seed(0)
    module, x = AttentionProposal(4, smallest=0.1), torch.randn(1, 4, 40, 40)
    module.propose[2].weight.zero_()
    module.propose[2].bias.copy_(torch.tensor([0.0, 0.0, -20.0]))
    changed = (module(x) - x).abs().amax(dim=(0, 1)) > 1e-4
    assert changed[16:24, 16:24].all()
    assert not changed[:15].any()
    assert not changed[:, 25:].any()


def test_the_box_learns_from_what_the_lens_shows():
    torch.manual_seed(0)
    module = AttentionProposal(4)
    module(torch.randn(1, 4, 9, 9)).square().sum().backward()
    assert (module.propose[2].weight.grad.abs().amax(dim=1) > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smallest": 0.7}, "from 0 to 0.5"),
        ({"smallest": 0}, "from 0 to 0.5"),
        ({"zoom": 0}, "14 and 10"),
        ({"sharpness": 0}, "14 and 10"),
        ({"grid": (7,)}, "rows and columns"),
    ],
)
def test_boxes_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        AttentionProposal(8, **options)
