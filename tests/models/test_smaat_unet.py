"""SmaAt-UNet: the authors' size, attention beside and not on the way down, separable convolutions."""

import torch
from torch import nn

from nowcast.attention.cbam import ConvolutionalBlockAttention
from nowcast.models.smaat_unet import SmaAtUNet, separable


def test_it_has_as_many_weights_as_the_authors() -> None:
    """SmaAt_UNet(12, 1) of github.com/HansBambel/SmaAt-UNet, summed over its layers."""
    network = SmaAtUNet(12, 1, attention={"name": "cbam", "minimum": 1})
    assert sum(weight.numel() for weight in network.parameters()) == 4_033_537


def test_a_separable_convolution_is_one_full_convolution() -> None:
    """Its kernel of output o and input i is Σ_k point[o, i k] · depth[i k]."""
    torch.manual_seed(0)
    depth, point = separable(3, 5, kernels=2)[:2]
    assert isinstance(depth, nn.Conv2d)
    assert isinstance(point, nn.Conv2d)
    x = torch.rand(1, 3, 6, 7)
    kernels = torch.einsum("oik,ikyx->oiyx", point.weight.view(5, 3, 2), depth.weight.view(3, 2, 3, 3))
    bias = point.weight.flatten(1) @ depth.bias + point.bias
    expected = nn.functional.conv2d(x, kernels, bias, padding=1)
    torch.testing.assert_close(point(depth(x)), expected)
    with torch.no_grad():  # where channels have another order between the two
        torch.testing.assert_close(point(depth(x)), expected)


def test_the_way_down_sees_nothing_of_the_attention() -> None:
    """Gates that shut everything leave the map below unchanged, and take away all that goes beside."""
    torch.manual_seed(0)
    seen: dict[str, torch.Tensor] = {}
    network = SmaAtUNet(3, 2, width=8, depth=2, residual=False)
    network.down[1].register_forward_hook(lambda module, inputs, output: seen.update(below=output))
    network.up[-1].register_forward_hook(lambda module, inputs, output: seen.update(joined=inputs[0]))
    past = torch.rand(1, 3, 1, 8, 12)
    network(past)
    below = seen["below"]
    with torch.no_grad():
        for gate in network.skips:
            assert isinstance(gate, ConvolutionalBlockAttention)
            gate.gates["channel"].perceptron[-1].bias.fill_(-200)
    network(past)
    torch.testing.assert_close(seen["below"], below)
    assert seen["joined"][:, 8:].abs().max() < 1e-6
    assert seen["joined"][:, :8].abs().max() > 0.01


def test_each_level_may_have_attention_of_its_own() -> None:
    network = SmaAtUNet(3, 2, width=8, depth=2, attention=[None, "se", ["eca", "se"]])
    assert [type(module).__name__ for module in network.skips] == ["Identity", "SqueezeExcitation"]
    assert [type(module).__name__ for module in network.down[-1][1]] == [
        "EfficientChannelAttention",
        "SqueezeExcitation",
    ]
