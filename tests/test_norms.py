"""Group norm of channels-last maps: what it says of them is what PyTorch's own says of others."""

import pytest
import torch
from torch import nn

from nowcast.norms import GroupNorm, strip_rows


@pytest.mark.parametrize("channels", [4, 12, 24, 72])  # turned for both passes, for the backward one, for neither
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_channels_last_maps_have_the_values_and_gradients_of_others(
    channels: int, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    own, theirs = GroupNorm(2, channels), nn.GroupNorm(2, channels)
    for weight in own.parameters():
        nn.init.uniform_(weight, 0.5, 2)
    theirs.load_state_dict(own.state_dict())
    maps, pull = torch.randn(2, 3, channels, 9, 7).to(dtype)
    made = {}
    for name, norm, layout in (("own", own, torch.channels_last), ("theirs", theirs, torch.contiguous_format)):
        x = maps.contiguous(memory_format=layout).requires_grad_()
        y = norm(x)
        made[name] = (y, *torch.autograd.grad(y, (x, *norm.parameters()), pull))
        assert y.dtype == dtype
        assert y.is_contiguous(memory_format=layout)
    for one, other in zip(made["own"], made["theirs"], strict=True):
        error = (one.float() - other.float()).norm() / other.float().norm()
        assert error < tolerance


def test_frozen_weights_leave_the_gradient_of_the_maps() -> None:
    torch.manual_seed(0)
    norm = GroupNorm(2, 4).requires_grad_(False)
    x = torch.randn(2, 4, 5, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    (gradient,) = torch.autograd.grad(norm(x)[0, 0, 0, 0], x)
    assert gradient[0, :2].abs().min() > 0  # all of its group
    assert gradient[0, 2:].abs().max() == 0
    assert gradient[1].abs().max() == 0


@pytest.mark.parametrize("channels", [4, 16])
@pytest.mark.parametrize(("height", "width"), [(320, 352), (331, 64), (62, 4100), (1, 20000)])
def test_large_dry_maps_are_precise_with_any_number_of_threads(channels: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    rain = (torch.rand(2, channels, height, width) < 0.1) * torch.rand(2, channels, height, width) * 2
    x = (0.3 + rain).contiguous(memory_format=torch.channels_last)
    norm = GroupNorm(2, channels)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.uniform_(norm.bias)
    wanted = nn.functional.group_norm(x.double(), 2, norm.weight.double(), norm.bias.double())
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            with torch.no_grad():
                assert (norm(x) - wanted).abs().max() < 1e-4 * wanted.abs().max()
    finally:
        torch.set_num_threads(threads)


def test_strips_go_into_the_height_and_are_short() -> None:
    assert strip_rows(640, 704) == 2
    assert strip_rows(640, 88) == 20
    assert strip_rows(100, 4096) == 2
    assert strip_rows(331, 64) is None  # a prime
