"""What the Finnish Meteorological Institute's composites have in common: 8-bit reflectivity and its Z–R relation."""

import numpy as np

from nowcast.data.readers._reader import dbz_to_rate

# Of rain in Finland (Leinonen et al. 2012, doi 10.1175/JAMC-D-11-056.1); what is below 5 dBZ is no rain.
ZR_A, ZR_B, LEAST_DBZ = 223.0, 1.53, 5.0
ATTRS = {"institution": "Finnish Meteorological Institute", "source": "FMI radar composite, reflectivity"}


def rate_from_bytes(
    stored: np.ndarray, nodata: int, zr_a: float, zr_b: float, gain: float = 0.5, offset: float = -32.0
) -> np.ndarray:
    """mm/h of bytes that count `gain` dBZ from `offset`; `nodata` is NaN."""
    by_byte = dbz_to_rate(np.arange(256) * gain + offset, zr_a, zr_b, LEAST_DBZ)
    by_byte[nodata] = np.nan
    return by_byte[stored]
