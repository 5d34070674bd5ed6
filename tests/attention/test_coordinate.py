"""Coordinate attention."""

import torch

from nowcast.attention.coordinate import CoordinateAttention


@torch.no_grad()
def test_each_pixel_is_gated_by_the_means_of_its_row_and_of_its_column():
    """Large weights take hswish to both of its bends, where a copy cut off at x·ReLU(x + 3) would differ."""
    torch.manual_seed(0)
    module = CoordinateAttention(6, minimum=4).eval()
    conv, norm, _ = module.squeeze
    for values in (conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean):
        torch.nn.init.uniform_(values, -4, 4)
    norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 6, 3, 5)
    reached = []

    def gate(line: torch.Tensor, last: torch.nn.Conv1d) -> torch.Tensor:
        hidden = conv.weight[:, :, 0] @ line.mean(dim=1) + conv.bias
        hidden = (hidden - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
        reached.extend(hidden.tolist())
        hidden = torch.tensor([h * min(max(h + 3, 0), 6) / 6 for h in hidden.tolist()])
        return 1 / (1 + torch.exp(-(last.weight[:, :, 0] @ hidden + last.bias)))

    expected = torch.empty_like(x)
    for b, i, j in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(5)):
        row, column = gate(x[b, :, i], module.rows), gate(x[b, :, :, j], module.columns)
        expected[b, :, i, j] = x[b, :, i, j] * row * column
    torch.testing.assert_close(module(x), expected)
    assert min(reached) < -3
    assert max(reached) > 3


@torch.no_grad()
def test_zero_weights_quarter_the_signal():
    module = CoordinateAttention(8)
    for weight in module.parameters():
        torch.nn.init.zeros_(weight)
    x = torch.randn(2, 8, 3, 5)
    torch.testing.assert_close(module(x), x / 4)


@torch.no_grad()
def test_transposed_maps_under_swapped_weights_give_transposed_maps():
    torch.manual_seed(0)
    module = CoordinateAttention(8).eval()
    x = torch.randn(2, 8, 3, 5)
    expected = module(x).mT
    module.rows, module.columns = module.columns, module.rows
    torch.testing.assert_close(module(x.mT), expected)
