"""Gather-excite."""

import pytest
import torch

from nowcast.attention.ge import GatherExcite
from nowcast.contracts import InputError


def gate(logits: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + torch.exp(-logits))


def standardised(x: torch.Tensor, norm: torch.nn.GroupNorm) -> torch.Tensor:
    """One group of all values, (C, H, W)."""
    standard = (x - x.mean()) / (x.var(correction=0) + 1e-5) ** 0.5
    return standard * norm.weight[:, None, None] + norm.bias[:, None, None]


def halved(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A 3×3 kernel of each channel at every other pixel: (C, H, W) → (C, ⌈H/2⌉, ⌈W/2⌉)."""
    channels, height, width = x.shape
    y = torch.zeros(channels, (height + 1) // 2, (width + 1) // 2)
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            for row in range(max(2 * i - 1, 0), min(2 * i + 2, height)):
                for column in range(max(2 * j - 1, 0), min(2 * j + 2, width)):
                    y[:, i, j] += weight[:, 0, row - 2 * i + 1, column - 2 * j + 1] * x[:, row, column]
    return y


def repeated(small: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Each pixel of a large map takes the small one's that covers it."""
    rows, columns = small.shape[1:]
    y = torch.zeros(len(small), height, width)
    for i in range(height):
        for j in range(width):
            y[:, i, j] = small[:, i * rows // height, j * columns // width]
    return y


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 10), (1, 9), (1, 1)])
def test_means_are_of_what_windows_hold_of_the_map(height, width):
    """Windows of 7 pixels, 4 apart, begin 2 before the map; zeros beyond it do not count."""
    torch.manual_seed(0)
    x = torch.randn(1, 3, height, width)
    starts = [[i for i in range(-2, side + 2, 4) if i + 7 <= side + 2] or [-2] for side in (height, width)]
    means = torch.stack(
        [
            torch.stack([x[0, :, max(i, 0) : i + 7, max(j, 0) : j + 7].mean(dim=(1, 2)) for j in starts[1]], dim=1)
            for i in starts[0]
        ],
        dim=1,
    )
    expected = x[0] * gate(repeated(means, height, width))
    torch.testing.assert_close(GatherExcite(3, variant="theta_minus", extent=4)(x)[0], expected)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["theta", "theta_plus"])
def test_convolutions_gather_by_halving_the_map(variant):
    torch.manual_seed(0)
    module = GatherExcite(4, variant=variant, extent=4)
    for weight in module.parameters():
        torch.nn.init.normal_(weight)
    x = torch.randn(2, 4, 7, 6)
    first, its_norm, _, second, other_norm = module.gather
    for b in range(2):
        once = standardised(halved(x[b], first.weight), its_norm).clamp_min(0)
        logits = standardised(halved(once, second.weight), other_norm)
        if variant == "theta_plus":
            into, _, back = module.excite
            pixels = logits.flatten(1).T
            hidden = [(into.weight[:, :, 0, 0] @ pixel + into.bias).clamp_min(0) for pixel in pixels]
            mixed = [back.weight[:, :, 0, 0] @ values + back.bias for values in hidden]
            logits = torch.stack(mixed, dim=1).view(logits.shape)
        expected = x[b] * gate(repeated(logits, 7, 6))
        torch.testing.assert_close(module(x)[b], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_kernel_of_the_whole_map_reaches_all_of_it():
    """A popular copy pads this kernel, which makes a map of gates out of it."""
    torch.manual_seed(0)
    module = GatherExcite(4, size=(3, 5))
    x = torch.randn(1, 4, 3, 5)
    _, conv, norm = module.gather
    sums = torch.stack([(conv.weight[c, 0] * x[0, c]).sum() for c in range(4)])[:, None, None]
    torch.testing.assert_close(module(x)[0], x[0] * gate(standardised(sums, norm)))
    larger = x.repeat_interleave(2, dim=2).repeat_interleave(3, dim=3)
    torch.testing.assert_close(module(larger), module(x).repeat_interleave(2, dim=2).repeat_interleave(3, dim=3))


def test_the_published_numbers_of_weights_come_out():
    def count(**options) -> int:
        return sum(weight.numel() for weight in GatherExcite(64, minimum=1, **options).parameters())

    assert count(variant="theta_minus") == count(variant="theta_minus", extent=4) == 0
    assert count(extent=4) == 1408
    assert count(variant="theta_plus", extent=4) == 1988
    assert count(size=(16, 16)) == 16_512
    assert count(variant="theta_plus", size=(16, 16)) == 17_092


@torch.no_grad()
def test_means_of_the_whole_map_gate_each_channel_by_itself():
    x = torch.randn(2, 3, 4, 5)
    expected = x * gate(x.mean(dim=(2, 3), keepdim=True))
    torch.testing.assert_close(GatherExcite(3, variant="theta_minus")(x), expected)


@pytest.mark.parametrize("extent", [0, 1, 3, 6])
def test_an_extent_that_is_no_power_of_two_is_refused(extent):
    with pytest.raises(InputError, match="2, 4, 8"):
        GatherExcite(8, extent=extent)
