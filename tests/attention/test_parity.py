"""Equal weights, equal output: our modules against reference vectors of the authors' implementations.

A file NAME.npz holds one implementation in eval mode: weights `param:NNN:…` and state `buffer:NNN:…` in
order, inputs `input:0`… and the `output`. The table says which of our modules, under which options, is to
give that output.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nowcast import attention
from tests.attention.parity_table import PARITY

FOLDER = Path(os.environ.get("NOWCAST_PARITY", Path(__file__).parents[3] / "shared" / "parity"))
FILES = sorted(FOLDER.glob("*.npz")) if FOLDER.is_dir() else []
REFERENCES = [path for path in FILES if "bug" not in path.stem]  # known defects of published copies are not goals
CHANNELS = 64


def fill(targets: list[torch.Tensor], values: list[np.ndarray], kind: str) -> None:
    """Copy arrays into tensors in order; a linear layer and a 1×1 convolution may stand for each other."""
    sizes, given = [target.numel() for target in targets], [value.size for value in values]
    assert sizes == given, f"our {kind} have sizes {sizes}, the reference's {given}"
    with torch.no_grad():
        for target, value in zip(targets, values, strict=True):
            target.copy_(torch.from_numpy(value).reshape(target.shape))


def ordered(arrays: dict[str, np.ndarray], kind: str) -> list[np.ndarray]:
    return [arrays[key] for key in sorted(arrays) if key.startswith(f"{kind}:")]


def statistics(module: nn.Module) -> list[torch.Tensor]:
    """Running means and variances; not constants, and not counters of batches."""
    return [buffer for key, buffer in module.named_buffers() if "running_" in key]


@pytest.mark.skipif(not FILES, reason="no reference vectors of the authors' implementations at hand")
@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: path.stem)
def test_equal_weights_give_the_authors_output(path):
    if path.stem not in PARITY:
        pytest.fail(f"{path.stem} has no entry in tests/attention/parity_table.py")
    entry = PARITY[path.stem]
    with np.load(path) as archive:
        arrays = dict(archive)
    module = attention.create(entry.name, CHANNELS, **entry.options).eval()
    weights = list(entry.rearrange(arrays)) if entry.rearrange else ordered(arrays, "param")
    fill(list(module.parameters()), weights, "weights")
    fill(statistics(module), [v for k, v in sorted(arrays.items()) if "running_" in k], "running statistics")
    inputs = [torch.from_numpy(array) for array in ordered(arrays, "input")]
    with torch.no_grad():
        output = getattr(module, entry.method)(*inputs)
    torch.testing.assert_close(output, torch.from_numpy(arrays["output"]), rtol=1e-5, atol=1e-5)


def test_every_entry_names_a_mechanism_that_exists():
    assert {entry.name for entry in PARITY.values()} <= set(attention.names())
