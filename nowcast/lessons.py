"""How networks are taught and asked: what a loss compares, and what a forecast of a whole frame is made of.

Most networks train as they forecast. One that does not says so by a method or an attribute, found here and nowhere
else:

- `train_forward(past, future, progress) -> (forecast, extra loss)`, for instance scheduled sampling;
- `lesson(past, target, known, progress) -> (forecast, target, known, extra loss)`, for a loss that is better taken
  elsewhere than on the grid of the future;
- `margin`, pixels on each side that are seen and not forecast.
"""

import torch
from torch import nn
from torch.nn import functional as F


def lesson(
    network: nn.Module, past: torch.Tensor, target: torch.Tensor, known: torch.Tensor, progress: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What a loss compares: forecast, target, where it is known, and what the network adds to the loss.

    Args:
        network: between scaled fields.
        past: (B, T_in, C, H, W), scaled.
        target: (B, T_out, C, H, W), scaled; what comes back is as large as the forecast.
        known: where the target was observed, bool.
        progress: share of the training that is done, from 0 to 1.
    """
    own, past = getattr(network, "lesson", None), _in_its_precision(network, past)
    if own:
        return own(past, target, known, progress)
    forecast, extra = train_forward(network, past, target, progress)
    margin = margin_of(network)
    return forecast, centre(target, margin), centre(known, margin), extra


def train_forward(
    network: nn.Module, past: torch.Tensor, future: torch.Tensor, progress: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Forecast and extra loss of a network in training, 0 for one that trains as it forecasts."""
    own = getattr(network, "train_forward", None)
    return own(past, future, progress) if own else (network(past), past.new_zeros(()))


def margin_of(network: nn.Module) -> int:
    """Pixels on each side of its input that a network does not forecast."""
    return int(getattr(network, "margin", 0))


def centre(fields: torch.Tensor, margin: int) -> torch.Tensor:
    """Fields (…, H, W) without a margin on each side."""
    height, width = fields.shape[-2:]
    return fields[..., margin : height - margin, margin : width - margin]


def whole(network: nn.Module, past: torch.Tensor, members: int | None = None) -> torch.Tensor:
    """The forecast of all pixels of the past: (B, T_in, C, H, W) → (B, steps, K, H, W), scaled.

    A network with a margin gets one of zeros around the frames: beyond them nothing is observed, and what is not
    observed is dry to networks.

    Args:
        network: between scaled fields.
        past: scaled.
        members: how many to draw, of a network that draws them (`MemberOutput`); None is as many as it is set to.
    """
    padded = _in_its_precision(network, F.pad(past, [margin_of(network)] * 4))
    return network(padded) if members is None else network(padded, members)


def ask(network: nn.Module, past: torch.Tensor) -> torch.Tensor:
    """What a network makes of its past frames, margin included: (B, T_in, C, H, W) → (B, steps, K, h, w), scaled."""
    forecast: torch.Tensor = network(_in_its_precision(network, past))
    return forecast


def _in_its_precision(network: nn.Module, past: torch.Tensor) -> torch.Tensor:
    """Past frames as the weights are, which trainers have in half precision with `bf16-true`."""
    weight = next(network.parameters(), past)
    return past.to(weight.dtype)
