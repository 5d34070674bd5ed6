"""Additive attention over the frames of a sequence."""

import pytest
import torch

from nowcast.attention.temporal_additive import TemporalAdditiveAttention


def average(module: TemporalAdditiveAttention, frames: list[torch.Tensor], values: list[torch.Tensor]) -> torch.Tensor:
    """Σₜ αₜ valuesₜ with one score at a time; the last frame asks."""
    score = module.score
    asked = score.query.weight @ frames[-1] + score.query.bias
    scores = []
    for frame in frames:
        hidden = score.key.weight @ frame + score.key.bias + asked
        hidden = hidden.clamp_min(0) if isinstance(score.activate, torch.nn.ReLU) else torch.tanh(hidden)
        scores.append(torch.exp(score.score.weight[0] @ hidden))
    return sum(s * value for s, value in zip(scores, values, strict=True)) / sum(scores)


@torch.no_grad()
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_each_pixel_averages_its_own_frames(activation):
    torch.manual_seed(0)
    module = TemporalAdditiveAttention(4, width=5, activation=activation)
    x = torch.randn(2, 3, 4, 2, 3)
    y = module(x)
    for b in range(2):
        for row in range(2):
            for column in range(3):
                frames = list(x[b, :, :, row, column])
                torch.testing.assert_close(y[b, :, row, column], average(module, frames, frames))


@torch.no_grad()
def test_pooled_frames_have_one_weight_everywhere_by_their_means():
    torch.manual_seed(0)
    module = TemporalAdditiveAttention(4, pooled=True)
    x = torch.randn(2, 3, 4, 2, 3)
    for b in range(2):
        expected = average(module, list(x[b].mean(dim=(2, 3))), list(x[b]))
        torch.testing.assert_close(module(x)[b], expected)


@torch.no_grad()
def test_any_query_can_be_answered_not_only_the_last_frame():
    module = TemporalAdditiveAttention(4)
    keys, query = torch.randn(3, 4), torch.randn(4)
    weights = torch.softmax(module.score(keys, query), dim=0)
    torch.testing.assert_close(module.attend(keys, query), weights @ keys)
    assert not torch.allclose(module.attend(keys, query), module.attend(keys, -query))


@torch.no_grad()
def test_a_sequence_of_equal_frames_is_one_of_them():
    """The weights sum to 1 over time, and over nothing else."""
    frame = torch.randn(2, 1, 4, 3, 3)
    torch.testing.assert_close(TemporalAdditiveAttention(4)(frame.expand(-1, 5, -1, -1, -1)), frame[:, 0])


@torch.no_grad()
def test_the_bias_of_the_score_of_ports_has_no_effect():
    """Hence none by default: it could never learn."""
    module = TemporalAdditiveAttention(4, score_bias=True)
    x = torch.randn(2, 3, 4, 2, 3)
    expected = module(x)
    module.score.score.bias.add_(7)
    torch.testing.assert_close(module(x), expected)
