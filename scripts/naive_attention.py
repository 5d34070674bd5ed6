"""Textbook forms of costly mechanisms: same weights, same output, with every large matrix written out.

They show what the library's modules save, and in the tests they are what these must equal.
"""

from collections.abc import Callable

import torch
from torch import nn

# By the mechanism's name: (module that holds the weights, input) → output.
TWINS: dict[str, Callable[[nn.Module, torch.Tensor], torch.Tensor]] = {}
