"""RainNet: the paper's size and reach, dropout only in training."""

import torch

from nowcast.models.rainnet import RainNet


def test_it_has_as_many_weights_as_the_paper_says() -> None:
    """ "In total, RainNet has almost 31.4 million parameters" (Ayzel et al. 2020, section 2.1)."""
    count = sum(weight.numel() for weight in RainNet(4, 12, rollout=1).parameters())
    assert count == 31_380_613


def test_the_corner_answers_to_the_corner() -> None:
    """Padding is added below and to the right and cut off there, on an odd size too."""
    torch.manual_seed(0)
    network = RainNet(3, 2, width=8, depth=2, residual=False).double().eval()
    past = torch.rand(1, 3, 1, 17, 80, dtype=torch.float64)
    touched = past.clone()
    touched[..., 0, 0] += 1
    change = (network(touched) - network(past)).abs().sum(dim=(0, 1, 2))
    assert change[0, 0] > 0
    assert change[:, 48:].max() == 0


def test_dropout_is_of_training_alone() -> None:
    torch.manual_seed(0)
    network, past = RainNet(3, 2, width=8, depth=2, residual=False), torch.rand(1, 3, 1, 16, 16)
    assert not torch.equal(network(past), network(past))
    network.eval()
    assert torch.equal(network(past), network(past))
