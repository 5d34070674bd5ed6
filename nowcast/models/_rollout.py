"""Recursive forecasts: a network of few lead times sees its own forecast as the next past."""

from collections.abc import Callable

import torch

from nowcast.contracts import InputError


def frames_a_pass(rollout: int | None, steps: int, channels: int, outputs: int | None) -> int:
    """How many frames one pass makes: all `steps`, or `rollout` of them at most.

    Raises:
        InputError: for a roll-out below 1, or one of forecasts that cannot be fed back.
    """
    if rollout is None:
        return steps
    if rollout < 1:
        raise InputError(f"rollout counts the frames of a pass, at least 1, not {rollout}; null makes all at once")
    if outputs not in (None, channels):
        raise InputError(f"a roll-out feeds forecasts back, so its outputs are its {channels} channels, not {outputs}")
    return min(rollout, steps)


def roll_out(once: Callable[[torch.Tensor], torch.Tensor], past: torch.Tensor, steps: int) -> torch.Tensor:
    """Call `once` until `steps` frames are made: (B, T_in, C, H, W) → (B, steps, C', H, W).

    Args:
        once: makes some frames from T_in frames. Where it makes all there is one call and nothing is fed back.
        past: scaled.
        steps: how many frames are wanted; what the last pass makes beyond them is left out.
    """
    made = [once(past)]
    while sum(frames.shape[1] for frames in made) < steps:
        # What is below 0 is dry, and networks know dry as 0.
        past = torch.cat([past, made[-1].clamp_min(0)], dim=1)[:, -past.shape[1] :]
        made.append(once(past))
    return torch.cat(made, dim=1)[:, :steps]
