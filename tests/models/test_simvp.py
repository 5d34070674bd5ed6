"""SimVP: sizes of the authors' benchmark, the reach of its kernel, what goes beside."""

import pytest
import torch
from torch import nn

from nowcast.models._translators import GatedAttention
from nowcast.models.simvp import SimVP


# OpenSTL, docs/en/model_zoos/video_benchmarks.md, MovingMNIST 10 → 10 frames: 46.8 M and 58.0 M.
@pytest.mark.parametrize(("translator", "millions"), [("gsta", 46.8), ("inception", 58.0)])
def test_it_has_as_many_weights_as_the_benchmark_says(translator: str, millions: float) -> None:
    with torch.device("meta"):
        network = SimVP(10, 10, translator=translator)
    assert sum(weight.numel() for weight in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.002)


def test_gated_attention_sees_23_pixels() -> None:
    """A kernel of 5 and one of 7 with steps of 3 that leave no gap: 2 + 9 pixels on each side."""
    torch.manual_seed(0)
    attention = GatedAttention(4).double()
    x = torch.zeros(1, 4, 41, 45, dtype=torch.float64)
    touched = x.clone()
    touched[..., 20, 22] = 1
    change = (attention(touched) - attention(x)).abs().sum(dim=(0, 1))
    rows, columns = (change.sum(dim=axis).nonzero().flatten().tolist() for axis in (1, 0))
    assert rows == list(range(20 - 11, 20 + 12))
    assert columns == list(range(22 - 11, 22 + 12))


def test_gradients_in_bfloat16_hold_nothing_that_was_in_memory_before() -> None:
    """Freed memory full of NaN shows what a kernel forgets to write."""
    torch.manual_seed(0)
    attention = GatedAttention(48).to(memory_format=torch.channels_last)
    x, weigh = torch.rand(8, 48, 32, 32), torch.rand(8, 48, 32, 32)
    (attention(x) * weigh).sum().backward()
    exact = attention.far.weight.grad.clone()
    for _ in range(3):
        attention.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            y = attention(x)
        spoilt = [torch.full((2**size,), torch.nan) for size in range(10, 23) for _ in range(3)]
        del spoilt
        (y * weigh).sum().backward()
        assert (attention.far.weight.grad - exact).norm() < 0.02 * exact.norm()


def test_a_gate_that_is_shut_leaves_the_map_alone() -> None:
    torch.manual_seed(0)
    attention, x = GatedAttention(4), torch.rand(1, 4, 9, 11)
    with torch.no_grad():
        attention.mix.bias[4:] = -200
        attention.mix.weight[4:] = 0
    torch.testing.assert_close(attention(x), x + attention.after.bias.view(1, 4, 1, 1))


@pytest.mark.parametrize(("steps", "pairs"), [(3, True), (5, False)])
def test_what_goes_beside_is_of_the_same_frame_or_of_the_last(steps: int, pairs: bool) -> None:
    """With a decoder that is mute, lead time t shows frame t where there are as many, else the last one."""
    torch.manual_seed(0)
    network = SimVP(3, steps, width=8, hidden=16, blocks=2, residual=False)
    network.decoder = nn.Sequential(nn.Upsample(scale_factor=4))
    with torch.no_grad():
        for weight in network.translator.parameters():
            weight.zero_()
    past = torch.rand(1, 3, 1, 16, 12, requires_grad=True)
    for lead, field in enumerate(network(past)[0]):
        (gradient,) = torch.autograd.grad(field.square().sum(), past, retain_graph=True)
        touched = gradient.abs().sum(dim=(0, 2, 3, 4)).nonzero().flatten().tolist()
        assert touched == [lead if pairs else 2]


def test_rolled_out_by_as_many_frames_as_it_sees_it_is_the_papers_recursion() -> None:
    network = SimVP(3, 7, width=8, hidden=16, blocks=2, rollout=3)
    assert network.frames == 3
    assert network(torch.rand(1, 3, 1, 9, 12)).shape == (1, 7, 1, 9, 12)
