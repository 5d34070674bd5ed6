"""From what a config says to a module: names, options, chains, parallels, residuals; the catalogue."""

from pathlib import Path

import pytest
import torch

from nowcast import attention
from nowcast.attention.__main__ import PAGE_COMMAND, main, page
from nowcast.contracts import InputError

PAGE = Path(__file__).parents[2] / "docs" / "attention.md"


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 16, 5, 7)


def test_nothing_is_the_identity(x):
    assert attention.create(None, 16)(x) is x


def test_a_mapping_is_a_name_with_options(x):
    assert attention.create({"name": "eca", "kernel": 5}, 16).mix.kernel_size == (5,)


def test_a_chain_applies_one_after_the_other(x):
    chain = attention.create(["eca", {"name": "se", "minimum": 4}], 16)
    first, second = chain
    torch.testing.assert_close(chain(x), second(first(x)))
    assert not torch.allclose(chain(x), first(second(x)))


def test_one_gate_after_the_other_is_cbam(x):
    cbam = attention.create("cbam", 16).eval()
    chain = attention.create([{"name": "cbam", "order": "channel"}, {"name": "cbam", "order": "spatial"}], 16).eval()
    for weight, value in zip(chain.parameters(), cbam.parameters(), strict=True):
        weight.data.copy_(value)
    torch.testing.assert_close(chain(x), cbam(x))


def test_a_parallel_sum_is_the_sum(x):
    module = attention.create({"parallel": ["se", ["eca", "cbam"]]}, 16).eval()
    torch.testing.assert_close(module(x), module.branches[0](x) + module.branches[1](x))


@pytest.mark.parametrize("frames", [(), (3,)])
def test_a_parallel_concatenation_mixes_all_channels_at_each_position(frames):
    module = attention.create({"parallel": [None, None, None], "fuse": "concat"}, 4)
    x = torch.randn(2, *frames, 4, 5, 7)
    weight = module.project.weight[:, :, 0, 0]
    expected = torch.einsum("oi,...ihw->...ohw", weight, torch.cat([x, x, x], -3)) + module.project.bias[:, None, None]
    torch.testing.assert_close(module(x), expected)


def test_a_residual_starts_as_the_identity_and_adds_by_its_scale(x):
    module = attention.create({"residual": "cbam"}, 16).eval()
    assert torch.equal(module(x), x)
    module(x).sum().backward()
    assert module.gamma.grad != 0
    module.gamma.data.fill_(0.5)
    torch.testing.assert_close(module(x), x + 0.5 * module.branch(x))


def test_a_residual_needs_a_branch_that_keeps_the_shape(x):
    module = attention.create({"residual": None}, 16)
    module.branch = torch.nn.AdaptiveAvgPool2d(1)  # broadcasting would hide it
    with pytest.raises(InputError, match="must keep the shape"):
        module(x)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("cbma", "did you mean cbam"),
        ({"name": "se", "ratio": 4}, "its options are: reduction"),
        ({"name": "se", "reduction": 17}, "reduction 17 leaves no channel of 16; from 1 to 16"),
        ({"name": "se", "reduction": 0}, "from 1 to 16"),
        ({"name": "cbam", "order": "both"}, "no order 'both'; it has channel_spatial"),
        ({"name": "cbam", "kernel": 4}, "odd kernel"),
        ({"name": "cbam", "pools": ["sum"]}, "avg, max, lse"),
        ({"name": "eca", "kernel": 4}, "3 or 5"),
        ({"reduction": 8}, r"\{name: se, reduction: 8\}"),
        ({"residual": "se", "scale": 2}, r"\{residual: se\}"),
        ({"parallel": ["se"], "fuse": "product"}, "sum or concat"),
        ({"parallel": ["se"], "fues": "sum"}, "fuse is sum or concat"),
        ({"parallel": []}, "no branches"),
        ({"parallel": "se"}, "is none of"),
        (["se", "ecaa"], "did you mean eca"),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_can(spec, says):
    with pytest.raises(InputError, match=says):
        attention.create(spec, 16)


def test_options_beside_a_chain_are_refused():
    with pytest.raises(InputError, match="go with a name"):
        attention.create(["se", "eca"], 16, reduction=4)


def test_names_are_sorted_by_family_and_without_helpers():
    assert attention.names() == sorted(attention.names())
    assert {"se", "eca", "cbam"} <= set(attention.names())
    assert "cbam" in attention.names("mixed")
    assert "cbam" not in attention.names("channel")
    with pytest.raises(InputError, match="channel"):
        attention.names("chanel")


def test_info_tells_the_card_and_the_options_and_counts_weights():
    info = attention.info("se")
    assert (info.family, info.source, info.year) == ("channel", "1709.01507", 2017)
    assert info.options == {"reduction": 16, "bias": False, "minimum": 8}
    assert info.parameters == 2 * 64 * 8


def test_info_does_not_disturb_the_seed():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    attention.info("cbam")
    assert torch.equal(torch.rand(3), expected)


def test_the_program_shows_every_name(capsys):
    main([])
    printed = capsys.readouterr().out
    assert all(f" {name} " in printed for name in attention.names())


def test_the_program_shows_the_whole_card_of_one(capsys):
    main(["cbam"])
    printed = capsys.readouterr().out
    for text in (
        "arxiv.org/abs/1807.06521",
        "order='channel_spatial'",
        "1,196",
        "least width of the bottleneck",
    ):
        assert text in printed


def test_the_program_refuses_a_wrong_name_with_exit_code_two(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["cbma"])
    assert stopped.value.code == 2
    assert "did you mean cbam" in capsys.readouterr().err


def test_the_documentation_page_is_up_to_date():
    written = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    assert written == page(), f"docs/attention.md is stale; write it again with: {PAGE_COMMAND}"


def test_a_row_of_the_page_holds_as_many_cells_as_its_head():
    rows = [line.replace(r"\|", "") for line in page().splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {8}
