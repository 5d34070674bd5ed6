"""CCNet: the authors' head, the reach of R passes, persistence at the start."""

import pytest
import torch

from nowcast.attention.criss_cross import CrissCrossAttention
from nowcast.attention.se import SqueezeExcitation
from nowcast.contracts import InputError
from nowcast.models.ccnet import CCNet, RecurrentCrissCross


def small(**options: object) -> CCNet:
    torch.manual_seed(0)
    return CCNet(**{"past_frames": 3, "steps": 4, "width": 8, "depth": 2, "blocks": 1, **options})


def test_its_head_has_as_many_parameters_as_the_authors() -> None:
    """github.com/speedinghzl/CCNet, RCCAModule(2048, 512) on ResNet-101, without the classifier behind it.

    3×3 convolutions 2048 → 512, 512 → 512 and 2560 → 512, their norms, and attention of 512 with queries of 64; of
    its biases that of the keys, which does nothing, is left out.
    """
    convolutions = 9 * 512 * (2048 + 512 + 2560) + 3 * 2 * 512
    attention = 2 * 512 * 64 + 64 + 512 * 512 + 512 + 1
    assert sum(weight.numel() for weight in RecurrentCrissCross(2048, 512).parameters()) == convolutions + attention


@pytest.mark.parametrize(("recurrence", "reached"), [(1, False), (2, True)])
def test_one_pass_reaches_the_own_lines_and_two_reach_everything(recurrence: int, reached: bool) -> None:
    """A far corner that is in no line with the other, with the statistics of norms, which couple all, taken away."""
    torch.manual_seed(0)
    head = RecurrentCrissCross(8, 8, recurrence).double()
    for module in head.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda x: x
        if isinstance(module, CrissCrossAttention):
            torch.nn.init.ones_(module.gamma)
    x = torch.rand(1, 8, 14, 17, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(head(x)[..., 0, 0].sum(), x)
    assert gradient[..., 0, -1].abs().sum() > 0
    assert (gradient[..., -1, -1].abs().sum() > 0) == reached


def test_recurrence_adds_no_weights_and_changes_the_forecast() -> None:
    networks = [small(recurrence=recurrence, residual=False) for recurrence in (1, 3)]
    for network in networks:
        torch.nn.init.ones_(next(m for m in network.modules() if isinstance(m, CrissCrossAttention)).gamma)
    networks[1].load_state_dict(networks[0].state_dict())
    past = torch.rand(1, 3, 1, 16, 24)
    first, third = (network(past) for network in networks)
    assert (first - third).abs().max() > 1e-4


def test_attention_stands_in_the_stage_that_the_config_names() -> None:
    network = small(attention=[None, None, "se", None, None])
    found = [name for name, module in network.named_modules() if isinstance(module, SqueezeExcitation)]
    assert found == ["down.2.0.branch.5"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 0}, "depth and blocks of at least 1"),
        ({"recurrence": 0}, "recurrence of 1 or more"),
        ({"attention": ["se"]}, "lists 1 stages, the network has 5"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        small(**options)
