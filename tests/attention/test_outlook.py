"""Outlook attention."""

import pytest
import torch

from nowcast.attention.outlook import OutlookAttention
from nowcast.contracts import InputError
from tests.attention.by_hand import softmax


def taps(kernel: int) -> list[tuple[int, int]]:
    reach = kernel // 2
    return [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]


def expected(module: OutlookAttention, x: torch.Tensor, around: bool = False) -> torch.Tensor:
    """One sample (C, H, W), window by window, average by average and source by source."""
    channels, height, width = x.shape
    d, stride, offsets = channels // module.heads, module.stride, taps(module.kernel)
    value = module.value(x[None])[0].unflatten(0, (module.heads, d))
    y = torch.zeros_like(value)
    for m in range(0, height, stride):
        for n in range(0, width, stride):
            middle = x[:, m : m + stride, n : n + stride].mean(dim=(1, 2), keepdim=True)
            logits = module.weigh(middle[None]).view(module.heads, len(offsets), len(offsets)) * d**-0.5
            for head in range(module.heads):
                for (i, j), to in zip(offsets, logits[head], strict=True):
                    at = (m + i, n + j)
                    origin = at if around else (m, n)
                    average = torch.zeros(d)
                    for (u, v), weight in zip(offsets, softmax(list(to)), strict=True):
                        row, column = origin[0] + u, origin[1] + v
                        if 0 <= row < height and 0 <= column < width:
                            average += weight * value[head, :, row, column]
                    if around:
                        y[head, :, m, n] += average
                    elif 0 <= at[0] < height and 0 <= at[1] < width:
                        y[head, :, at[0], at[1]] += average
    return module.project(y.flatten(0, 1)[None])[0]


@torch.no_grad()
@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (3, 5)])
def test_it_is_the_formula_window_by_window(stride, kernel):
    torch.manual_seed(0)
    module, x = OutlookAttention(4, heads=2, kernel=kernel, stride=stride), torch.randn(2, 4, 5, 4)
    for sample, y in zip(x, module(x), strict=True):
        torch.testing.assert_close(y, expected(module, sample))


@torch.no_grad()
def test_the_released_code_at_stride_one_is_another_operator():
    torch.manual_seed(0)
    module, x = OutlookAttention(4, heads=2, form="code"), torch.randn(1, 4, 4, 3)
    torch.testing.assert_close(module(x)[0], expected(module, x[0], around=True))
    assert (module(x)[0] - expected(module, x[0])).abs().max() > 1e-3


@torch.no_grad()
def test_the_released_code_is_the_paper_at_other_strides():
    torch.manual_seed(0)
    code, paper = (OutlookAttention(4, stride=2, form=form) for form in ("code", "paper"))
    paper.load_state_dict(code.state_dict())
    x = torch.randn(1, 4, 5, 3)
    assert torch.equal(code(x), paper(x))


@torch.no_grad()
def test_windows_that_overlap_are_summed_and_not_averaged():
    """With equal weights and values of 1, an inner pixel gets 1 from each of the k² windows it belongs to."""
    module = OutlookAttention(4)
    for weight in module.parameters():
        weight.zero_()
    for layer in (module.value, module.project):
        layer.weight.copy_(torch.eye(4)[..., None, None])
    torch.testing.assert_close(module(torch.ones(1, 4, 5, 5))[0, 0, 2, 2], torch.tensor(9.0))


@pytest.mark.parametrize("options", [{"kernel": 4}, {"stride": 0}, {"stride": 4}, {"heads": 3}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(InputError, match="outlook"):
        OutlookAttention(8, **options)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (1, 4, 1, 6), (1, 4, 5, 1)])
def test_strides_leave_no_part_of_any_map_out(shape):
    torch.manual_seed(0)
    module, x = OutlookAttention(4, stride=2), torch.randn(shape)
    torch.testing.assert_close(module(x)[0], expected(module, x[0]))
