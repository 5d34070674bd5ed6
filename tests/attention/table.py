"""What the contract test needs to know of each mechanism: one line a name."""

from dataclasses import dataclass, field
from typing import Any, Literal

Symmetry = Literal["pixels", "lines", "shift", "flip", "transpose", "none"]


@dataclass(frozen=True)
class Case:
    """How the contract test treats one mechanism.

    Args:
        symmetry: the rearrangement of a map it commutes with: any permutation of the pixels ("pixels"), of
            whole rows and of whole columns ("lines"), a circular shift, a left-right and up-down flip, a
            transpose, or "none".
        options: what the contract test builds it with.
        published: its parameter count at C=64 and the options that this count belongs to.
        zero_start: names of parameters that start at zero and are set nonzero before it must act and learn.
        channels: C of the test; 16 when None.
    """

    symmetry: Symmetry
    options: dict[str, Any] = field(default_factory=dict)
    published: tuple[int, dict[str, Any]] | None = None
    zero_start: tuple[str, ...] | None = None
    channels: int | None = None


CASES: dict[str, Case] = {
    # G1 channel and fusion
    "eca": Case("pixels", published=(3, {})),
    "se": Case("pixels", published=(512, {"minimum": 1})),
    # G2 spatial and mixed
    "bam": Case("none", published=(1173, {"minimum": 1})),
    "cbam": Case("none", published=(680, {"minimum": 1})),
    "scse": Case("pixels", published=(4257, {})),
    "coordinate": Case("lines", published=(1688, {})),
    "triplet": Case("none", published=(300, {})),
    # G3 self-attention
    # G4 axial and local
    # G5 token mixing, frequency, hybrid
    # G6 temporal and origins
}
