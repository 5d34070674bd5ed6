"""Rain rate in mm/h ⇄ reflectivity in dBZ ⇄ what networks see; the only place that hides NaN from networks.

Networks see reflectivity divided by 30, clipped at 0 dBZ from below: dry (and anything under 0.036 mm/h) is exactly
0, 1 mm/h is 0.77 and 100 mm/h is 1.83. Multiplicative errors of rain are additive there.
"""

import math

import torch

# Marshall and Palmer (1948), Z = a R^b; the defaults of every conversion in nowcast.
ZR_A, ZR_B = 200.0, 1.6
DBZ_PER_UNIT = 30.0
DRY_RATE = 0.01  # mm/h, below 0 dBZ
HIGHEST_RATE = 655.34  # mm/h, the most that files hold; nothing bounds what a network makes of the last per cent
NAME = "dbz/30 from 0 dBZ, Z = 200 R^1.6"  # written into checkpoints; a network speaks one scaling


def rate_to_dbz(rate: torch.Tensor, a: float = ZR_A, b: float = ZR_B) -> torch.Tensor:
    """Reflectivity in dBZ of a rate in mm/h by Z = a R^b; −inf where it is dry, NaN stays NaN."""
    return torch.log(rate.clamp_min(0)) * (10 * b / math.log(10)) + 10 * math.log10(a)


def dbz_to_rate(dbz: torch.Tensor, a: float = ZR_A, b: float = ZR_B) -> torch.Tensor:
    """Rate in mm/h of a reflectivity in dBZ by Z = a R^b; 0 at −inf dBZ, NaN stays NaN."""
    return torch.exp(dbz * (math.log(10) / (10 * b)) - math.log(a) / b)


def scale(rate: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A rate in mm/h as networks see it, with unobserved pixels dry, and which pixels are known (bool)."""
    known = ~torch.isnan(rate)
    # From a rate that is dry to networks, since processors take their time over the logarithm of 0.
    scaled = (rate_to_dbz(rate.clamp_min(DRY_RATE)) / DBZ_PER_UNIT).clamp_min(0)
    return torch.where(known, scaled, 0.0), known


def unscale(scaled: torch.Tensor) -> torch.Tensor:
    """The inverse of `scale` on known pixels: mm/h, exactly 0 where scaled is 0 or less, HIGHEST_RATE at most."""
    scaled = scaled.float()
    rate = dbz_to_rate(scaled * DBZ_PER_UNIT).clamp_max(HIGHEST_RATE)
    return torch.where(scaled > 0, rate, 0.0)
