"""Self-attention along time."""

import pytest
import torch

from nowcast.attention.temporal_self_attention import TemporalSelfAttention
from nowcast.contracts import InputError


def code(frame: int, channels: int) -> torch.Tensor:
    """Sines and cosines by turns, as Vaswani et al. write them."""
    angles = [frame / 10_000 ** (2 * (c // 2) / channels) for c in range(channels)]
    values = [torch.tensor(angle).cos() if c % 2 else torch.tensor(angle).sin() for c, angle in enumerate(angles)]
    return torch.stack(values)


def attended(module: TemporalSelfAttention, frames: list[torch.Tensor]) -> list[torch.Tensor]:
    """One pixel's frames, one query, key and head at a time."""
    if module.positions:
        frames = [frame + code(t, len(frame)) for t, frame in enumerate(frames)]
    queries, keys, values = ([layer(f) for f in frames] for layer in (module.query, module.key, module.value))
    width = len(frames[0]) // module.heads
    found = []
    for t, query in enumerate(queries):
        parts = []
        for head in range(module.heads):
            mine = slice(head * width, (head + 1) * width)
            seen = range(t + 1) if module.causal else range(len(frames))
            weights = torch.stack([query[mine] @ keys[s][mine] / width**0.5 for s in seen]).softmax(dim=0)
            parts.append(sum(weight * values[s][mine] for weight, s in zip(weights, seen, strict=True)))
        found.append(module.project(torch.cat(parts)))
    return found


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("positions", [None, "sinusoidal"])
def test_each_pixel_attends_along_time_alone(causal, positions):
    torch.manual_seed(0)
    module = TemporalSelfAttention(8, heads=2, causal=causal, positions=positions)
    x = torch.randn(2, 4, 8, 2, 3)
    y = module(x)
    for b, row, column in torch.cartesian_prod(*(torch.arange(size) for size in (2, 2, 3))):
        frames = x[b, :, :, row, column]
        expected = frames + torch.stack(attended(module, list(frames)))
        torch.testing.assert_close(y[b, :, :, row, column], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_causal_frame_does_not_know_what_follows():
    module = TemporalSelfAttention(8, causal=True)
    x = torch.randn(1, 4, 8, 3, 3)
    later = x.clone()
    later[:, 2:] += 1
    torch.testing.assert_close(module(x)[:, :2], module(later)[:, :2])
    assert not torch.allclose(module(x)[:, 2:] - x[:, 2:], module(later)[:, 2:] - later[:, 2:])


@torch.no_grad()
def test_only_with_positions_does_the_order_of_the_frames_matter():
    x = torch.randn(1, 4, 8, 3, 3)
    blind, seeing = TemporalSelfAttention(8, positions=None), TemporalSelfAttention(8)
    torch.testing.assert_close(blind(x.flip(1)), blind(x).flip(1))
    assert not torch.allclose(seeing(x.flip(1)), seeing(x).flip(1))


@torch.no_grad()
def test_a_single_frame_is_its_own_value():
    module = TemporalSelfAttention(8, positions=None, residual=False)
    frame = torch.randn(2, 1, 8, 1, 1)
    expected = module.project(module.value(frame.flatten(1)))
    torch.testing.assert_close(module(frame).flatten(1), expected)


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(InputError, match="1, 2, 3, 6 would do"):
        TemporalSelfAttention(6, heads=4)
