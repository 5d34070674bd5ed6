"""The recurrent encoder–forecaster and its cells: published sizes, the past only, persistence at the start."""

import pytest
import torch
from torch.nn import functional as F

from nowcast.attention.criss_cross import CrissCrossAttention
from nowcast.contracts import InputError
from nowcast.models import _cells
from nowcast.models._cells._unroll import unroll
from nowcast.models._cells.sa_conv_lstm import SelfAttentionMemory
from nowcast.models._cells.traj_gru import carried
from nowcast.models.convlstm import ConvLSTM

CELLS = _cells.CATALOGUE.names()


def small(**options: object) -> ConvLSTM:
    torch.manual_seed(0)
    return ConvLSTM(**{"past_frames": 4, "steps": 3, "widths": (8, 12), "strides": (2, 2), "stem": 6, **options})


def test_the_cells_are_these() -> None:
    assert CELLS == ["conv_gru", "conv_lstm", "sa_conv_lstm", "st_lstm", "traj_gru"]


def authors_count(kernel: int | None, links: int | None) -> int:
    """Weights and biases of the authors' MovingMNIST networks, layer by layer as their code has them.

    github.com/sxjscience/HKO-7, experiments/movingmnist/configurations and nowcasting/operators: three levels of 64, 96
    and 96, one of 16 next to the images, downsampling 3×3 and upsampling 4×4. Theirs upsample without bias.
    """

    def layer(inputs: int, outputs: int, size: int) -> int:
        return size**2 * inputs * outputs + outputs

    def cell(inputs: int, width: int) -> int:
        count = layer(inputs, 3 * width, 3) if inputs else 0
        if kernel:
            return count + layer(width, 3 * width, kernel)
        count += layer(links * width, 3 * width, 1) + layer(width, 32, 5) + layer(32, 2 * links, 5)
        return count + (layer(inputs, 32, 5) if inputs else 0)

    encoder = layer(1, 16, 3) + cell(16, 64) + layer(64, 96, 3) + cell(96, 96) + layer(96, 96, 3) + cell(96, 96)
    forecaster = cell(0, 96) + cell(96, 96) + cell(96, 64) + 2 * 4**2 * 96 * 96 + 3**2 * 64 * 16
    return encoder + forecaster + layer(16, 16, 3) + layer(16, 1, 1)


@pytest.mark.parametrize(("kernel", "links"), [(3, None), (5, None), (7, None), (None, 5), (None, 9), (None, 13)])
def test_it_has_the_weights_of_the_authors_networks_and_biases_of_upsampling(
    kernel: int | None, links: int | None
) -> None:
    cell = {"name": "conv_gru", "kernel": kernel} if kernel else {"name": "traj_gru", "links": links}
    with torch.device("meta"):
        network = ConvLSTM(10, 10, cell=cell)
    assert sum(weight.numel() for weight in network.parameters()) == authors_count(kernel, links) + 2 * 96 + 16


def test_a_self_attention_cell_has_the_weights_of_the_equations_of_the_paper() -> None:
    """Lin et al. 2020, equations 2 to 9, at hidden states of 64 and kernels of 3, counted by hand.

    The paper's totals are of networks of other frames than this one, and its code is not public.
    """
    inputs, width, keys = 16, 64, 32
    conv_lstm = 9 * (inputs + width) * 4 * width + 2 * 4 * width
    seen = width * keys + keys + 2 * width * keys  # queries, and keys of h and of m, whose bias does nothing
    gathered = 2 * (width * width + width)  # values of h and of m
    fused = 2 * width * width + width  # Z of both
    gates = 2 * width * 3 * width + 3 * width  # i, g and o from Z and h
    cell = _cells.create({"name": "sa_conv_lstm", "kernel": 3}, inputs, width, None, "hidden")
    assert sum(weight.numel() for weight in cell.parameters()) == conv_lstm + seen + gathered + fused + gates


def test_strides_of_the_radar_images_of_the_paper_give_maps_of_a_fifth_a_fifteenth_and_a_thirtieth() -> None:
    network = small(widths=(4, 4, 4), strides=(5, 3, 2))
    states = network._encode(torch.rand(1, 2, 1, 60, 90))
    assert [tuple(state[0].shape[-2:]) for state in states] == [(2, 3), (4, 6), (12, 18)]


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_knows_nothing_of_later_frames(cell: str) -> None:
    torch.manual_seed(0)
    made = _cells.create(cell, 3, 5, None, "hidden")
    frames = torch.rand(1, 6, 3, 7, 9, requires_grad=True)
    outputs, _ = unroll(made, frames, made.begin(frames[:, 0]), 6)
    (gradient,) = torch.autograd.grad(outputs[:, 3].sum(), frames)
    seen = gradient.abs().sum(dim=(0, 2, 3, 4)) > 0
    assert seen.tolist() == [True] * 4 + [False] * 2


@pytest.mark.parametrize("cell", CELLS)
def test_every_past_frame_counts_in_every_lead_time(cell: str) -> None:
    network = small(cell=cell, residual=False)
    past = torch.rand(1, 4, 1, 12, 16, requires_grad=True)
    for lead in range(3):
        (gradient,) = torch.autograd.grad(network(past)[:, lead].sum(), past)
        assert (gradient.abs().sum(dim=(0, 2, 3, 4)) > 0).all()


@pytest.mark.parametrize("cell", CELLS)
def test_inputs_convolved_at_once_are_inputs_convolved_one_by_one(cell: str) -> None:
    torch.manual_seed(0)
    made = _cells.create(cell, 3, 5, None, "hidden")
    frames = torch.rand(2, 4, 3, 7, 9)
    outputs, last = unroll(made, frames, made.begin(frames[:, 0]), 4)
    state = made.begin(frames[:, 0])
    for time in range(4):
        state = made(made.drive(frames[:, time]), state)
        torch.testing.assert_close(outputs[:, time], state[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last, state, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", [name for name in CELLS if name != "sa_conv_lstm"])
def test_the_past_moved_by_whole_cells_moves_the_forecast(cell: str) -> None:
    network = small(cell=cell, residual=False, widths=(6, 6), steps=2, past_frames=2).double()
    past = torch.zeros(1, 2, 1, 96, 120, dtype=torch.float64)
    past[..., 40:52, 48:60] = torch.rand(1, 2, 1, 12, 12, dtype=torch.float64)
    moved = network(past.roll((4, 8), dims=(-2, -1)))
    inner = (..., slice(44, 56), slice(52, 68))
    torch.testing.assert_close(moved[inner], network(past).roll((4, 8), dims=(-2, -1))[inner])
    assert network(past)[inner].std() > 0


def test_a_conv_lstm_of_one_pixel_is_the_lstm_of_torch() -> None:
    """Torch orders gates as i, f, g, o too. On one pixel only the middle of a kernel sees anything."""
    torch.manual_seed(0)
    cell = _cells.create("conv_lstm", 3, 5, None, "hidden")
    twin = torch.nn.LSTMCell(3, 5)
    with torch.no_grad():
        twin.weight_ih.copy_(cell.from_input.weight[:, :, 1, 1])
        twin.weight_hh.copy_(cell.recurrent.weight[:, :, 2, 2])
        twin.bias_ih.copy_(cell.from_input.bias)
        twin.bias_hh.copy_(cell.recurrent.bias)
    frames = torch.rand(2, 4, 3)
    outputs, _ = unroll(cell, frames[..., None, None], cell.begin(frames[:, 0, :, None, None]), 4)
    hidden = memory = torch.zeros(2, 5)
    for time in range(4):
        hidden, memory = twin(frames[:, time], (hidden, memory))
    torch.testing.assert_close(outputs[:, -1, :, 0, 0], hidden)


def test_peepholes_let_the_memory_open_its_gates() -> None:
    torch.manual_seed(0)
    cell = _cells.create({"name": "conv_lstm", "peephole": True}, 0, 1, None, "hidden")
    with torch.no_grad():
        cell.recurrent.weight.zero_()
        cell.recurrent.bias.zero_()
        cell.peephole[1], cell.peephole[2] = 2.0, 3.0
    memory = torch.full((1, 1, 1, 1), 0.7)
    hidden, kept = cell(torch.zeros(1, 4, 1, 1), (torch.zeros_like(memory), memory))
    torch.testing.assert_close(kept, torch.sigmoid(2 * memory) * memory)
    torch.testing.assert_close(hidden, torch.sigmoid(3 * kept) * kept.tanh())


def test_a_gru_whose_update_gate_is_open_keeps_its_state() -> None:
    cell = _cells.create("conv_gru", 2, 3, None, "hidden")
    torch.nn.init.constant_(cell.recurrent.bias[3:6].data, 50.0)
    state = (torch.randn(1, 3, 5, 6),)
    torch.testing.assert_close(cell(cell.drive(torch.rand(1, 2, 5, 6)), state)[0], state[0])


def test_flows_carry_maps_to_the_right_and_down_and_dry_flows_in() -> None:
    maps = torch.rand(1, 2, 6, 8)
    flows = torch.zeros(1, 3, 2, 6, 8)
    flows[:, 1, 0], flows[:, 1, 1] = 3.0, 1.0
    flows[:, 2, 0] = -0.5
    still, far, half = carried(maps, flows.flatten(1, 2)).chunk(3, dim=1)
    torch.testing.assert_close(still, maps)
    torch.testing.assert_close(far, F.pad(maps, (3, 0, 1, 0))[..., :6, :8])
    torch.testing.assert_close(half[..., :-1], (maps[..., :-1] + maps[..., 1:]) / 2)


def test_self_attention_memory_is_what_its_equations_say_pixel_by_pixel() -> None:
    torch.manual_seed(0)
    memory = SelfAttentionMemory(4, 2)
    hidden, far = torch.randn(1, 4, 2, 3), torch.randn(1, 4, 2, 3)
    rows, far_rows = hidden[0].flatten(1).T, far[0].flatten(1).T
    new_hidden, new_far = memory(hidden, far)
    for pixel in range(6):
        query = memory.query(rows[pixel])
        gathered = []
        for seen, key, value in zip((rows, far_rows), memory.keys, memory.values, strict=True):
            weights = torch.stack([query @ key(other) for other in seen]).exp()
            gathered.append(sum(w * value(other) for w, other in zip(weights, seen, strict=True)) / weights.sum())
        both = memory.fuse.weight[:, :, 0, 0] @ torch.cat(gathered) + memory.fuse.bias
        gates = memory.gates.weight[:, :, 0, 0] @ torch.cat([both, rows[pixel]]) + memory.gates.bias
        enter, new, leave = gates.chunk(3)
        expected = (1 - enter.sigmoid()) * far_rows[pixel] + enter.sigmoid() * new.tanh()
        torch.testing.assert_close(new_far[0].flatten(1)[:, pixel], expected)
        torch.testing.assert_close(new_hidden[0].flatten(1)[:, pixel], leave.sigmoid() * expected)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("place", "cells"), [("input", 3), ("hidden", 4), ("gates", 4)])
def test_attention_stands_on_input_hidden_state_or_gates_and_learns(cell: str, place: str, cells: int) -> None:
    """The coarsest forecasting cell has no input to attend to."""
    network = small(cell=cell, attention="criss_cross", attention_on=place, residual=False)
    found = [name for name, module in network.named_modules() if isinstance(module, CrissCrossAttention)]
    assert len(found) == cells
    assert all(name.endswith(f"attend_{place}") for name in found)
    network(torch.rand(1, 4, 1, 16, 24)).square().sum().backward()
    assert all(network.get_submodule(name).gamma.grad != 0 for name in found)


def test_cells_and_attention_can_differ_by_level() -> None:
    network = small(cell=["conv_gru", {"name": "sa_conv_lstm", "kernel": 3}], attention=[None, "se"])
    kinds = [type(cell).__name__ for cell in [*network.encoder, *network.forecaster]]
    assert kinds == ["ConvGRUCell", "SelfAttentionConvLSTMCell", "SelfAttentionConvLSTMCell", "ConvGRUCell"]
    assert [type(cell.attend_hidden).__name__ for cell in network.encoder] == ["Identity", "SqueezeExcitation"]


@pytest.mark.parametrize("cell", CELLS)
def test_a_compiled_cell_says_the_same(cell: str) -> None:
    torch.manual_seed(0)
    made = _cells.create(cell, 3, 4, None, "hidden")
    drive, state = torch.randn(2, made.drives, 7, 9), tuple(torch.randn(2, 4, 7, 9) for _ in range(made.states))
    torch.testing.assert_close(torch.compile(made, fullgraph=True, backend="eager")(drive, state), made(drive, state))


def test_weights_of_one_length_serve_another() -> None:
    """And so a state dict makes the whole round trip."""
    network, longer = small(residual=False), small(residual=False, steps=6, past_frames=5)
    torch.nn.init.normal_(longer.head[-1].weight)
    longer.load_state_dict(network.state_dict())
    past = torch.rand(1, 4, 1, 12, 16)
    torch.testing.assert_close(longer(past)[:, :3], network(past))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cell": "conv_lstn"}, "did you mean conv_lstm"),
        ({"cell": {"name": "conv_gru", "links": 3}}, "no option 'links'"),
        ({"cell": {"kernel": 3}}, "names no cell"),
        ({"cell": {"name": "conv_gru", "kernel": 4}}, "odd, not 4"),
        ({"cell": {"name": "traj_gru", "links": 0}}, "at least 1 link"),
        ({"cell": ["conv_gru"]}, "1 cells"),
        ({"strides": (2, 2, 2)}, "3 strides"),
        ({"attention_on": "output"}, "input, hidden, gates"),
        ({"attention": ["se"]}, "lists 1 stages"),
        ({"channels": 2, "outputs": 5}, "5 outputs of 2 channels"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        small(**options)
