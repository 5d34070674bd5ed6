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
    "sk": Case("none", published=(8768, {})),
    "ge": Case("none", published=(65_664, {"size": (32, 32)})),
    "spa": Case("none", published=(5632, {"minimum": 1})),
    "fca": Case("none", published=(512, {"minimum": 1})),
    "csra": Case("pixels", published=(640, {"classes": 10})),
    "channel_self_attention": Case("pixels", published=(16_641, {"projected_skip": True}), zero_start=("gamma",)),
    "external": Case("pixels", published=(8192, {})),
    "psa": Case("none", published=(27_121, {"minimum": 1})),
    "ms_cam": Case("pixels", published=(4576, {})),
    "aff": Case("none", published=(4576, {"branch": False})),
    "iaff": Case("none", published=(9152, {"branch": False})),
    "parnet": Case("none", published=(45_440, {}), zero_start=("skip.bias",)),
    "gsop": Case("pixels", published=(107_712, {"width": 128})),
    # G2 spatial and mixed
    "bam": Case("none", published=(1173, {"minimum": 1})),
    "cbam": Case("none", published=(680, {"minimum": 1})),
    "scse": Case("pixels", published=(4257, {})),
    "coordinate": Case("lines", published=(1688, {})),
    "triplet": Case("none", published=(300, {})),
    "sge": Case("pixels", published=(128, {}), zero_start=("gamma",)),
    "shuffle": Case("pixels", published=(24, {"groups": 8}), zero_start=("channel_weight", "spatial_weight")),
    "polarized": Case("pixels", published=(8545, {"bias": True})),
    "reconet": Case(
        "none",
        {"rank": 8},
        published=(393_280, {"fixed_size": (32, 32), "output": "product"}),
    ),
    # Published with the port's idle 1×1 convolution in each of its 12 units, which no gradient reaches.
    "residual_attention": Case("none", {"pools": 2, "trunk": 1}, published=(112_128 - 12 * 64**2, {})),
    "rga_s": Case("none", published=(266_098, {"grid": (32, 32), "minimum": 1, "norm": "batch"})),
    "rga_c": Case("none", published=(395_038, {"grid": (32, 32), "minimum": 1, "norm": "batch"})),
    "rga": Case("none", published=(661_136, {"grid": (32, 32), "minimum": 1, "norm": "batch"})),
    # G3 self-attention
    "self_attention": Case("pixels", published=(16_640, {"key_bias": True})),
    "simplified_self_attention": Case("pixels", published=(4160, {})),
    "transformer_block": Case("pixels"),
    "pam": Case("pixels", published=(5201, {"key_bias": True}), zero_start=("gamma",)),
    "cam": Case("pixels", published=(1, {}), zero_start=("gamma",)),
    "gcnet": Case("pixels", published=(653, {"key_bias": True, "minimum": 1}), zero_start=("add.3.weight",)),
    "non_local": Case(
        "pixels", published=(8480, {"key_bias": True, "norm": "batch"}), zero_start=("project.1.weight",)
    ),
    "danet": Case("none", published=(26_774, {"auxiliary": True, "key_bias": True}), zero_start=("gamma",)),
    "a2": Case("pixels", published=(4208, {"key_bias": True})),
    "apnb": Case("flip", published=(11_584, {}), zero_start=("project.weight",)),
    "afnb": Case("flip", published=(11_632, {"low_channels": 32}), zero_start=("project.weight",)),
    "anl": Case("none", zero_start=("project.weight",)),
    "ocr": Case("pixels", published=(19_008, {"own_logits": False})),
    # G4 axial and local
    "criss_cross": Case("lines", published=(5201, {"key_bias": True}), zero_start=("gamma",)),
    "axial_row": Case("lines", published=(5201, {"key_bias": True}), zero_start=("gamma",)),
    "axial_col": Case("lines", published=(5201, {"key_bias": True}), zero_start=("gamma",)),
    "axial": Case("lines", published=(10_402, {"key_bias": True}), zero_start=("gamma",)),
    "axial_package": Case("lines", published=(32_896, {})),
    "tri_axial": Case("flip", zero_start=("gamma",)),
    "plane_pair": Case("none", published=(300, {})),
    "halo": Case("none", published=(12_720, {})),
    "outlook": Case("none", published=(29_316, {"heads": 4})),
    "cot": Case("none", published=(26_744, {})),
    # G5 token mixing, frequency, hybrid
    "aft": Case("none", published=(1_065_216, {"rank": None, "size": (32, 32)})),
    "gfnet": Case("shift", published=(69_632, {"size": (32, 32)})),
    "emsa": Case("none", published=(17_236, {"heads": 4, "ratio": 2, "mix_bias": True})),
    "ufo": Case("pixels", published=(16_644, {"heads": 4})),
    # Which pixels share a context stays the same when the map is flipped, and nothing else tells them apart.
    "mobilevit_v2": Case("flip", published=(12_545, {})),
    "mobilevit": Case("none", published=(273_024, {})),
    "coatnet": Case("none", published=(32_324, {"part": "attention", "heads": 4, "size": (32, 32)})),
    "muse": Case("none", published=(25_346, {"form": "dynamic", "kernels": (3, 15), "along": "raster", "heads": 4})),
    "s2_mlp_v2": Case("none", published=(33_024, {})),
    "vip": Case("none", published=(20_752, {})),
    "infini": Case("none", {"segment": 8}, published=(4 + 4 * 64**2, {"heads": 4})),
    # G6 temporal and origins
    "temporal_additive": Case("pixels", published=(8385, {"score_bias": True})),
    "temporal_self_attention": Case("pixels", published=(16_640, {"key_bias": True})),
    "siau": Case("pixels", published=(8515, {"learnt": "graph", "published": True}), zero_start=("project.1.weight",)),
    "ciau": Case("pixels", published=(4288, {}), zero_start=("update.1.weight",)),
    "tiau": Case("pixels", published=(8515, {"learnt": "graph", "published": True}), zero_start=("project.1.weight",)),
    "iau": Case(
        "pixels", published=(13_135, {"published": True}), zero_start=("project.1.weight", "channel.update.1.weight")
    ),
    "soft_spatial": Case("pixels", published=(8385 + 65, {"score_bias": True})),
    "hard_spatial": Case("pixels", published=(8385 + 65, {"score_bias": True})),
    "glimpse": Case("none"),
    "attention_proposal": Case("none"),
    "saliency": Case("flip", published=(0, {})),
}
