"""The promise of `nowcast.attention`, kept by every mechanism it names."""

import inspect
import re
from functools import partial
from typing import Literal, get_args, get_origin

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from nowcast import attention
from nowcast.contracts import InputError
from tests.attention.table import CASES, Case

NAMES = attention.names()
FRAMES = 3
FAMILIES = (
    "channel", "spatial", "mixed", "self-attention", "temporal", "frequency", "fusion", "hybrid", "origin"
)  # fmt: skip
every_mechanism = pytest.mark.parametrize("name", NAMES)


def case(name: str) -> Case:
    if name not in CASES:
        pytest.fail(f"{name} has no Case in tests/attention/table.py")
    return CASES[name]


def width(name: str) -> int:
    return case(name).channels or 16


def built(name: str, seed: int = 0) -> nn.Module:
    """The mechanism as its Case builds it, with the weights that start at zero set to something."""
    torch.manual_seed(seed)
    module = attention.create(name, width(name), **case(name).options)
    weights = dict(module.named_parameters())
    for ending in case(name).zero_start or ():
        named = [key for key in weights if key == ending or key.endswith(f".{ending}")]
        assert named, f"{name} has no parameter {ending} as its Case says; it has {list(weights)}"
        for key in named:
            nn.init.uniform_(weights[key], 0.5, 1.0)
    return module


def maps(name: str, height: int = 7, columns: int = 5, batch: int = 2, seed: int = 1) -> torch.Tensor:
    """Input of a mechanism: (B, C, H, W), or (B, T, C, H, W) where it takes sequences."""
    torch.manual_seed(seed)
    frames = (FRAMES,) if takes_frames(name) else ()
    return torch.randn(batch, *frames, width(name), height, columns)


def takes_frames(name: str) -> bool:
    return card(name).shape.startswith("BTCHW")


def card(name: str) -> attention.Card:
    return attention.CATALOGUE.module(name).CARD


def expected_shape(name: str, x: torch.Tensor) -> torch.Size:
    return x[:, -1].shape if card(name).shape == "BTCHW→BCHW" else x.shape


def permute_pixels(x: torch.Tensor) -> torch.Tensor:
    order = torch.randperm(x.shape[-1] * x.shape[-2], generator=torch.Generator().manual_seed(3))
    return x.flatten(-2)[..., order].unflatten(-1, x.shape[-2:])


def permute_lines(x: torch.Tensor) -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    rows, columns = (torch.randperm(size, generator=random) for size in x.shape[-2:])
    return x[..., rows, :][..., columns]


REARRANGE = {
    "pixels": [permute_pixels],
    "lines": [permute_lines],
    "shift": [partial(torch.roll, shifts=(2, 3), dims=(-2, -1))],
    "flip": [partial(torch.flip, dims=(-1,)), partial(torch.flip, dims=(-2,))],
    "transpose": [lambda x: x.mT],
    "none": [],
}


def test_every_file_has_a_case_and_every_case_a_file():
    assert sorted(CASES) == NAMES


@every_mechanism
def test_the_constructor_takes_channels_then_named_options(name):
    options = list(inspect.signature(attention.CATALOGUE.member(name)).parameters.values())
    assert options[0].name == "channels"
    assert all(option.kind is inspect.Parameter.KEYWORD_ONLY for option in options[1:])
    assert all(option.default is not inspect.Parameter.empty for option in options[1:])
    assert len(options) <= 8


@every_mechanism
def test_the_card_is_complete(name):
    facts = card(name)
    assert facts.family in FAMILIES
    assert facts.shape in ("BCHW", "BTCHW", "BTCHW→BCHW")
    assert all((facts.paper, facts.source, facts.equation, facts.time, facts.memory))
    assert facts.time.startswith("O(")
    assert facts.memory.startswith("O(")
    assert 1950 <= facts.year <= 2026
    if arxiv := re.fullmatch(r"(\d\d)(\d\d)\.\d{4,5}", facts.source):
        assert facts.year == 2000 + int(arxiv[1])
    else:
        assert re.search(r"[A-Za-z]{2}|^10\.\d{4}", facts.source), "neither arXiv id, DOI nor venue"


@every_mechanism
def test_an_option_out_of_its_choices_is_refused(name):
    for option, parameter in inspect.signature(attention.CATALOGUE.member(name)).parameters.items():
        kinds = [
            kind for kind in (parameter.annotation, *get_args(parameter.annotation)) if get_origin(kind) is Literal
        ]
        for choices in map(get_args, kinds):
            with pytest.raises(InputError, match=re.escape(str(choices[0]))):
                attention.create(name, width(name), **{option: "nonsense"})


@every_mechanism
def test_heads_and_groups_that_do_not_divide_are_refused(name):
    for option in ("heads", "groups"):
        if option in inspect.signature(attention.CATALOGUE.member(name)).parameters:
            with pytest.raises(InputError, match=option.rstrip("s")):
                attention.create(name, 16, **{option: 5})


@pytest.mark.parametrize("name", [name for name, its_case in CASES.items() if its_case.published])
def test_the_published_number_of_parameters_comes_out(name):
    count, options = case(name).published
    assert sum(weight.numel() for weight in attention.create(name, 64, **options).parameters()) == count


@every_mechanism
def test_one_module_takes_maps_of_any_size(name):
    module = built(name).eval()
    for height, columns in ((7, 5), (13, 11), (1, 9), (9, 1), (1, 1), (18, 20)):
        x = maps(name, height, columns)
        with torch.no_grad():
            y = module(x)
        assert y.shape == expected_shape(name, x)
        assert y.dtype == x.dtype
        assert y.isfinite().all()


@every_mechanism
@pytest.mark.parametrize("channels", [6, 24])
def test_default_options_suit_any_number_of_channels(name, channels):
    torch.manual_seed(0)
    module = attention.create(name, channels).eval()
    x = torch.randn(1, *((FRAMES,) if takes_frames(name) else ()), channels, 3, 4)
    with torch.no_grad():
        assert module(x).shape == expected_shape(name, x)


@every_mechanism
def test_a_training_step_on_one_sample_reaches_every_weight(name):
    module = built(name).train()
    x = maps(name, batch=1).requires_grad_()
    y = module(x)
    (y * torch.randn_like(y)).sum().backward()
    assert x.grad.isfinite().all()
    for key, weight in module.named_parameters():
        assert weight.grad is not None, f"no gradient reaches {key}"
        assert weight.grad.isfinite().all(), key
        assert weight.grad.abs().max() > 0, f"the gradient of {key} is zero"


@every_mechanism
def test_a_dry_map_gives_finite_values_and_gradients(name):
    module = built(name).train()
    x = torch.zeros_like(maps(name)).requires_grad_()
    y = module(x)
    (y * torch.randn_like(y)).sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in module.parameters())
    with torch.no_grad():
        assert module.eval()(x).isfinite().all()


@every_mechanism
def test_huge_values_stay_finite(name):
    with torch.no_grad():
        assert built(name).eval()(1e3 * maps(name)).isfinite().all()


@every_mechanism
def test_it_does_something_and_leaves_its_input_alone(name):
    module, x = built(name).eval(), maps(name)
    before = x.clone()
    with torch.no_grad():
        y = module(x)
    assert torch.equal(x, before)
    unchanged = x[:, -1] if y.ndim < x.ndim else x
    assert (y - unchanged).norm() > 1e-3 * unchanged.norm()


@every_mechanism
def test_it_is_deterministic_once_trained(name):
    module, x = built(name).eval(), maps(name)
    with torch.no_grad():
        assert torch.equal(module(x), module(x))


@every_mechanism
def test_no_weight_is_without_dimensions(name):
    """PyTorch makes no shards of such a weight."""
    assert [key for key, weight in built(name).named_parameters() if weight.ndim == 0] == []


@every_mechanism
def test_weights_are_all_there_is_to_save(name):
    module, other, x = built(name).eval(), built(name, seed=5).eval(), maps(name)
    other.load_state_dict(module.state_dict())
    with torch.no_grad():
        assert torch.equal(other(x), module(x))


@every_mechanism
def test_samples_of_a_batch_do_not_mix(name):
    module, x = built(name).double().eval(), maps(name, batch=3).double()
    with torch.no_grad():
        alone = torch.cat([module(sample) for sample in x.split(1)])
        torch.testing.assert_close(module(x), alone, rtol=1e-7, atol=1e-9)


@every_mechanism
def test_the_layout_in_memory_does_not_matter(name):
    module, x = built(name).double().eval(), maps(name).double()
    with torch.no_grad():
        expected = module(x)
        for strided in (x.mT.contiguous().mT, x.movedim(-3, -1).contiguous().movedim(-1, -3)):
            torch.testing.assert_close(module(strided), expected, rtol=1e-7, atol=1e-9)


@every_mechanism
def test_it_commutes_with_the_rearrangement_that_it_cannot_notice(name):
    """Catches a reshape for a permute and a softmax over the wrong axis, which shapes alone do not show."""
    module, x = built(name).double().eval(), maps(name, 6, 7).double()
    with torch.no_grad():
        y = module(x)
        for rearrange in REARRANGE[case(name).symmetry]:
            torch.testing.assert_close(module(rearrange(x)), rearrange(y), rtol=1e-6, atol=1e-8)
        if case(name).symmetry != "pixels":
            surprised = (module(permute_pixels(x)) - permute_pixels(y)).abs().max()
            assert surprised > 1e-6, f"{name} does not notice any permutation of pixels; its symmetry is pixels"


@every_mechanism
def test_bfloat16_autocast_is_close_to_single_precision(name):
    module, x = built(name).eval(), maps(name)
    with torch.no_grad():
        expected = module(x)
        with torch.autocast("cpu", torch.bfloat16):
            y = module(x).float()
    assert y.isfinite().all()
    assert (y - expected).norm() < 0.05 * expected.norm()


@every_mechanism
def test_it_compiles_whole_and_exports(name):
    module, x = built(name).eval(), maps(name)
    torch._dynamo.reset()
    with torch.no_grad():
        expected = module(x)
        compiled = torch.compile(module, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), expected)
        exported = torch.export.export(module, (x,), strict=False).module()
        torch.testing.assert_close(exported(x), expected)


@every_mechanism
@settings(max_examples=4, deadline=None, derandomize=True, database=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 12),
    columns=st.integers(1, 12),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
@example(batch=2, height=1, columns=3, dtype=torch.bfloat16)
@example(batch=1, height=3, columns=2, dtype=torch.float64)
def test_any_batch_size_and_type_give_finite_maps_of_the_same_kind(name, batch, height, columns, dtype):
    module, x = built(name).to(dtype).eval(), maps(name, height, columns, batch).to(dtype)
    with torch.no_grad():
        y = module(x)
    assert y.shape == expected_shape(name, x)
    assert y.dtype == dtype
    assert y.isfinite().all()
    with torch.no_grad():
        assert torch.equal(module(x), y)
