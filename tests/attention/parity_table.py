"""Which module and options reproduce each file of reference vectors, by the file's name without .npz."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Parity:
    """One reference implementation.

    Args:
        name: of our mechanism.
        options: under which it equals the reference.
        rearrange: from the file's arrays by key to the weights in our order, where the file's order differs.
        method: of our module, where the reference's output is not what `forward` gives.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    rearrange: Callable[[Arrays], Sequence[np.ndarray]] | None = None
    method: str = "forward"


def mean_before_max(arrays: Arrays) -> list[np.ndarray]:
    """Weights of a CBAM whose spatial convolution sees [mean, max], where the authors' sees [max, mean]."""
    weights = [arrays[key] for key in sorted(arrays) if key.startswith("param:")]
    return [weight[:, ::-1].copy() if weight.shape[1:2] == (2,) else weight for weight in weights]


PARITY: dict[str, Parity] = {
    # G1 channel and fusion
    "eca__k3": Parity("eca", {"kernel": 3}),
    "eca__k5": Parity("eca", {"kernel": 5}),
    "eca__timm_adaptive": Parity("eca"),
    "se__authors_bias": Parity("se", {"bias": True, "minimum": 1}),
    "se__pytorch_nobias": Parity("se", {"minimum": 1}),
    # G2 spatial and mixed
    "bam__code_product": Parity("bam", {"minimum": 1, "norm": "batch", "combine": "product"}),
    "bam__paper_sum": Parity("bam", {"minimum": 1, "norm": "batch"}),
    "cbam__authors": Parity("cbam", {"minimum": 1}),
    "cbam__authors_avg_only": Parity("cbam", {"minimum": 1, "pools": ("avg",)}),
    "cbam__authors_lse": Parity("cbam", {"minimum": 1, "pools": ("avg", "max", "lse")}),
    "cbam__authors_no_spatial": Parity("cbam", {"minimum": 1, "order": "channel"}),
    "cbam__timm": Parity("cbam", {"minimum": 1, "bias": False}, mean_before_max),
    "scse__cse": Parity("scse", {"part": "cse"}),
    "scse__scse_add": Parity("scse"),
    "scse__scse_max": Parity("scse", {"combine": "max"}),
    "scse__sse": Parity("scse", {"part": "sse"}),
    # G3 self-attention
    # G4 axial and local
    # G5 token mixing, frequency, hybrid
    # G6 temporal and origins
}
