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


def stacked_ranks(arrays: Arrays) -> list[np.ndarray]:
    """RecoNet weights of a copy that has one matrix a rank where ours has them one below the other."""
    return [
        np.concatenate([arrays[key] for key in sorted(arrays) if f":{axis}." in key])
        for axis in ("conv1_1", "conv1_2", "conv1_3")
    ]


def project_last(arrays: Arrays) -> list[np.ndarray]:
    """Weights of a non-local block whose output convolution is registered after θ and φ, not before."""
    weights = [arrays[key] for key in sorted(arrays) if key.startswith("param:")]
    return [*weights[:2], *weights[6:], *weights[2:6]]


def keys_before_values(arrays: Arrays) -> list[np.ndarray]:
    """Halo weights of a port that has all keys before all values, and positions before them all."""
    rows, columns, query, key_value, *project = [arrays[key] for key in sorted(arrays) if key.startswith("param:")]
    heads = len(query) // rows.shape[1]
    by_head = key_value.reshape(2, heads, -1, key_value.shape[1]).swapaxes(0, 1).reshape(key_value.shape)
    return [query, by_head, rows, columns, *project]


PARITY: dict[str, Parity] = {
    # G1 channel and fusion
    "eca__k3": Parity("eca", {"kernel": 3}),
    "eca__k5": Parity("eca", {"kernel": 5}),
    "eca__timm_adaptive": Parity("eca"),
    "se__authors_bias": Parity("se", {"bias": True, "minimum": 1}),
    "se__pytorch_nobias": Parity("se", {"minimum": 1}),
    "sk__M3_G8": Parity("sk", {"branches": 3, "groups": 8, "norm": "batch"}),
    "sk__authors_M2_G32": Parity("sk", {"norm": "batch"}),
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
    "reconet_tgm_trm__authors": Parity(
        "reconet",
        {"rank": 8, "fixed_size": (16, 16), "output": "product", "form": "code"},
        stacked_ranks,
        "joined",
    ),
    "rga__RGA_C": Parity("rga_c", {"minimum": 1, "norm": "batch"}),
    "rga__RGA_S": Parity("rga_s", {"minimum": 1, "norm": "batch"}),
    "rga__RGA_SC": Parity("rga", {"minimum": 1, "norm": "batch"}),
    # G3 self-attention
    "danet_pam_cam__cam": Parity("cam", {"form": "code"}),
    "danet_pam_cam__pam": Parity("pam", {"key_bias": True}),
    "gcnet_context_block__att_add": Parity("gcnet", {"key_bias": True, "minimum": 1}),
    "gcnet_context_block__att_mul": Parity("gcnet", {"key_bias": True, "minimum": 1, "fuse": "multiply"}),
    "gcnet_context_block__att_mul_add": Parity("gcnet", {"key_bias": True, "minimum": 1, "fuse": "both"}),
    "gcnet_context_block__avg_add": Parity("gcnet", {"pool": "mean", "minimum": 1}),
    "danet_pam_cam__head": Parity("danet", {"auxiliary": True, "norm": "batch", "key_bias": True, "form": "code"}),
    "nonlocal2d_gcnet_repo__dot_product": Parity(
        "non_local", {"pairwise": "dot_product", "norm": None, "key_bias": True}, project_last
    ),
    "nonlocal2d_gcnet_repo__fixed_scale": Parity("non_local", {"norm": None, "key_bias": True}, project_last),
    **{
        f"nonlocal__{pairwise}{suffix}": Parity(
            "non_local",
            {
                "pairwise": pairwise,
                "subsample": bool(suffix),
                "scale": False,
                "norm": "batch",
                "key_bias": True,
            },
        )
        for pairwise in ("embedded_gaussian", "gaussian", "dot_product", "concatenation")
        for suffix in ("", "_pool")
    },
    "mhsa_and_simplified__mhsa": Parity("self_attention", {"key_bias": True}, method="between"),
    "mhsa_and_simplified__simplified": Parity("simplified_self_attention", method="between"),
    "a2_double_attention__paper": Parity("a2", {"residual": False, "key_bias": True}),
    "apnb_afnb__apnb": Parity("apnb", {"norm": "batch"}),
    "ocr__ocr_K8": Parity("ocr", {"norm": "batch", "own_logits": False}),
    # G4 axial and local
    "ccnet_criss_cross__R1": Parity("criss_cross", {"recurrence": 1, "key_bias": True}),
    "ccnet_criss_cross__R2": Parity("criss_cross", {"key_bias": True}),
    "axial_row_col_seeds__row": Parity("axial_row", {"key_bias": True}),
    "axial_row_col_seeds__col": Parity("axial_col", {"key_bias": True}),
    "axial_row_col_seeds__sum": Parity("axial", {"doubled": True, "key_bias": True}),
    "axial_row_col_seeds__row_col": Parity("axial", {"order": "row_col", "key_bias": True}),
    "axial_row_col_seeds__col_row": Parity("axial", {"order": "col_row", "key_bias": True}),
    "axial_lucidrains__sum_2d": Parity("axial_package"),
    "axial_lucidrains__sequential_2d": Parity("axial_package", {"order": "sequence"}),
    "axial_lucidrains__sum_video_5d": Parity("axial_package", {"frames": True}),
    "halo__timm": Parity("halo", {"block": 4, "halo": 1, "heads": 4, "scaled_positions": False, "padding": "zeros"}),
    "halo__lucid_fixed_mask": Parity(
        "halo", {"block": 4, "halo": 1, "heads": 4, "head_width": 16, "project": True}, keys_before_values
    ),
    "halo__lucid_as_published": Parity(
        "halo",
        {"block": 4, "halo": 1, "heads": 4, "head_width": 16, "project": True, "padding": "inverted"},
        keys_before_values,
    ),
    "outlook__k3_s1": Parity("outlook", {"heads": 4, "form": "code"}),
    "outlook__k3_s2": Parity("outlook", {"heads": 4, "stride": 2}),
    "cot__cot": Parity("cot", {"norm": "batch"}),
    "cot__coxt": Parity("cot", {"variant": "coxt", "norm": "batch"}),
    # G5 token mixing, frequency, hybrid
    # G6 temporal and origins
    "additive_soft_attention__relu": Parity(
        "temporal_additive", {"activation": "relu", "score_bias": True}, method="attend"
    ),
    "additive_soft_attention__tanh": Parity("temporal_additive", {"score_bias": True}, method="attend"),
    "iau__IAU_2d": Parity("iau", {"scaled": False, "published": True, "norm": "batch"}, method="of_map"),
    "iau__IAU_3d": Parity("iau", {"scaled": False, "published": True, "norm": "batch"}, method="of_volume"),
    "iau__SIAU": Parity("siau", {"learnt": "graph", "published": True, "norm": "batch"}, method="interact"),
    "iau__STIAU": Parity(
        "tiau", {"links": "both", "learnt": "graph", "published": True, "norm": "batch"}, method="interact"
    ),
}
