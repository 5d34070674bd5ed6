"""Triplet attention."""

import pytest
import torch

from nowcast.attention.cbam import ConvolutionalBlockAttention
from nowcast.attention.triplet import TripletAttention
from nowcast.contracts import InputError

# Axes of (C, H, W) that span each plane, in the order of the rows and columns of its convolution.
AXES = {"cw": (0, 2), "hc": (1, 0), "hw": (1, 2)}


def plane_gate(weight: torch.Tensor, sample: torch.Tensor, plane: str) -> torch.Tensor:
    """σ of a 3×3 sum over [max; mean] along the third axis, as a (C, H, W) map, for one (C, H, W) sample."""
    first, second = AXES[plane]
    (third,) = {0, 1, 2} - {first, second}
    turned = sample.movedim((first, second, third), (0, 1, 2))
    gate = torch.empty(turned.shape[:2])
    for i in range(gate.shape[0]):
        for j in range(gate.shape[1]):
            total = 0.0
            for di, dj in torch.cartesian_prod(torch.arange(3), torch.arange(3)):
                row, column = i + di - 1, j + dj - 1
                if 0 <= row < gate.shape[0] and 0 <= column < gate.shape[1]:
                    line = turned[row, column]
                    total += weight[0, 0, di, dj] * line.max() + weight[0, 1, di, dj] * line.mean()
            gate[i, j] = torch.sigmoid(total / (1 + 1e-5) ** 0.5)  # an untrained batch norm
    return gate[..., None].expand_as(turned).movedim((0, 1, 2), (first, second, third))


@torch.no_grad()
@pytest.mark.parametrize("planes", [("cw",), ("hc",), ("hw",), ("cw", "hc"), ("cw", "hc", "hw")])
def test_the_gate_is_the_mean_over_the_planes_asked_for(planes):
    torch.manual_seed(0)
    module = TripletAttention(4, kernel=3, planes=planes).eval()
    x = torch.randn(2, 4, 5, 3)
    gates = [
        torch.stack([plane_gate(module.gates[plane].conv.weight, sample, plane) for sample in x]) for plane in planes
    ]
    torch.testing.assert_close(module(x), x * torch.stack(gates).mean(dim=0))


@torch.no_grad()
def test_the_spatial_plane_alone_is_the_spatial_gate_of_cbam():
    triplet = TripletAttention(4, planes=["hw"]).eval()
    cbam = ConvolutionalBlockAttention(4, order="spatial").eval()
    triplet.gates["hw"].load_state_dict(cbam.gates["spatial"].state_dict())
    x = torch.randn(2, 4, 5, 7)
    torch.testing.assert_close(triplet(x), cbam(x))


@torch.no_grad()
def test_turning_the_map_turns_the_planes():
    """Height and channels change places: so do the planes (C,W) and (H,W), and (H,C) is transposed."""
    torch.manual_seed(0)
    module, x = TripletAttention(4).eval(), torch.randn(2, 4, 5, 7)
    expected = module(x).transpose(1, 2)
    gates = module.gates
    gates["cw"], gates["hw"] = gates["hw"], gates["cw"]
    gates["hc"].conv.weight.copy_(gates["hc"].conv.weight.mT.clone())
    torch.testing.assert_close(module(x.transpose(1, 2)), expected)


def test_an_even_kernel_and_an_unknown_plane_are_refused():
    with pytest.raises(InputError, match="odd kernel"):
        TripletAttention(4, kernel=6)
    with pytest.raises(InputError, match="cw, hc, hw"):
        TripletAttention(4, planes=("hw", "wh"))
