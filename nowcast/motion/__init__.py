"""Motion of rain: dense motion from past frames (`flow`) and carrying fields along it (`advection`); torch alone.

A motion is (B, 2, H, W), pixels a frame in the order (down, right), on the pixels of the frames it was taken from.
Everything is batched, runs on any device, and can be differentiated.
"""

from nowcast.motion.advection import advect, displacements, each_displacement, read
from nowcast.motion.flow import lucas_kanade

__all__ = ["advect", "displacements", "each_displacement", "lucas_kanade", "read"]
