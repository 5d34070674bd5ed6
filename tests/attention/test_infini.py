"""Infini-attention."""

import pytest
import torch

from nowcast.attention.infini import InfiniAttention
from nowcast.contracts import InputError


def built(**options: object) -> InfiniAttention:
    torch.manual_seed(0)
    module = InfiniAttention(6, heads=2, **options).double()
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.8)
    return module


def phi(vector: torch.Tensor) -> torch.Tensor:
    return torch.where(vector > 0, vector + 1, vector.exp())


def one_head(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, beta: torch.Tensor, starts: list[int], **options: object
) -> torch.Tensor:
    """Segment after segment and token by token, (N, d) each; a memory of every pair of key and value."""
    y = torch.zeros_like(v)
    d = q.shape[1]
    matrix, norm = torch.zeros(d, d, dtype=q.dtype), torch.zeros(d, dtype=q.dtype)
    for start, stop in zip(starts, [*starts[1:], len(q)], strict=True):
        for t in range(start, stop):
            last = t + 1 if options.get("causal") else stop
            weights = [(q[t] @ k[s] / d**0.5).exp() for s in range(start, last)]
            local = sum(w * v[s] for w, s in zip(weights, range(start, last), strict=True)) / sum(weights)
            y[t] = local
            if start > 0:
                recalled = phi(q[t]) @ matrix / (phi(q[t]) @ norm)
                share = 1 / (1 + torch.exp(-beta))
                share = 1 - share if options.get("gate") == "local" else share
                y[t] = share * recalled + (1 - share) * local
        old, old_norm = matrix.clone(), norm.clone()
        for s in range(start, stop):
            value = v[s]
            if options.get("update") == "delta" and start > 0:
                value = value - phi(k[s]) @ old / (phi(k[s]) @ old_norm)
            matrix += torch.outer(phi(k[s]), value)
            norm += phi(k[s])
    return y


def by_token(module: InfiniAttention, rows: torch.Tensor, starts: list[int], **options: object) -> torch.Tensor:
    """Tokens (N, C) of one sample."""
    q, k, v = ((layer.weight @ rows.T).T for layer in (module.query, module.key, module.value))
    heads = [
        one_head(q[:, part], k[:, part], v[:, part], module.gate[h], starts, **options)
        for h, part in enumerate((slice(0, 3), slice(3, 6)))
    ]
    return (module.project.weight @ torch.cat(heads, dim=1).T).T


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"update": "delta"}, {"gate": "local"}, {"causal": True}])
@pytest.mark.parametrize(("height", "width"), [(3, 4), (2, 7), (1, 1)])
def test_segments_of_a_map_are_stretches_of_its_raster(height, width, options):
    module = built(segment=4, **options)
    x = torch.randn(2, 6, height, width, dtype=torch.float64)
    starts = list(range(0, height * width, 4))
    for b in range(2):
        expected = by_token(module, x[b].flatten(1).T, starts, **options)
        torch.testing.assert_close(module(x)[b].flatten(1).T, expected)


@torch.no_grad()
@pytest.mark.parametrize("update", ["linear", "delta"])
def test_segments_of_a_sequence_are_its_frames(update):
    module = built(segment=4, update=update)
    x = torch.randn(1, 3, 6, 2, 5, dtype=torch.float64)
    rows = x[0].flatten(2).mT.reshape(30, 6)
    expected = by_token(module, rows, [0, 10, 20], update=update).reshape(3, 10, 6).mT
    torch.testing.assert_close(module(x)[0].flatten(2), expected)


@torch.no_grad()
def test_frames_remember_the_past_and_know_nothing_of_the_future():
    module = built()
    x = torch.randn(1, 4, 6, 3, 3, dtype=torch.float64)
    other = x.clone()
    other[:, 2] += 1
    changed = [not torch.equal(a, b) for a, b in zip(module(x)[0], module(other)[0], strict=True)]
    assert changed == [False, False, True, True]


@torch.no_grad()
def test_an_open_gate_forgets_its_own_segment_and_a_closed_one_the_past():
    module = built(segment=4)
    x = torch.randn(1, 6, 3, 4, dtype=torch.float64)
    module.gate.fill_(-50)
    alone = module(x[:, :, 1:2])
    torch.testing.assert_close(module(x)[:, :, 1:2], alone)
    module.gate.fill_(50)
    other = x.clone()
    other[:, :, 1, 0] += 1  # the query of one pixel alone can notice, not its neighbours in the segment
    torch.testing.assert_close(module(other)[:, :, 1, 1:], module(x)[:, :, 1, 1:])


@torch.no_grad()
@pytest.mark.parametrize("update", ["linear", "delta"])
def test_the_memory_can_be_used_without_projections(update):
    module = InfiniAttention(12, heads=4, gate="local", update=update, project=False).double()
    assert [weight.numel() for weight in module.parameters()] == [4]
    module.gate.normal_()
    q, k, v = torch.randn(3, 2, 3, 4, 5, 3, dtype=torch.float64)
    y = module.attend(q, k, v)
    for b in range(2):
        for h in range(4):
            rows = (each[b, :, h].reshape(15, 3) for each in (q, k, v))
            expected = one_head(*rows, module.gate[h], [0, 5, 10], gate="local", update=update)
            torch.testing.assert_close(y[b, :, h].reshape(15, 3), expected)


def test_heads_start_with_equal_shares():
    assert torch.equal(InfiniAttention(64).gate, torch.zeros(8))


def test_an_empty_segment_is_refused():
    with pytest.raises(InputError, match="1 pixel or more"):
        InfiniAttention(6, segment=0)
