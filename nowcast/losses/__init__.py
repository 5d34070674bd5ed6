"""Losses of forecasts: (predicted, target, known) → scalar, in network space, over known pixels alone."""

from nowcast.losses.balanced import Balanced
from nowcast.losses.exponentially_weighted import ExponentiallyWeighted
from nowcast.losses.facl import FACL
from nowcast.losses.lead_time_weighted import LeadTimeWeighted
from nowcast.losses.loss import Loss
from nowcast.losses.multi_scale import MultiScale
from nowcast.losses.pixelwise import MAE, MSE, Huber
from nowcast.losses.soft_csi import SoftCSI
from nowcast.losses.ssim import SSIM
from nowcast.losses.sum import Sum

__all__ = [
    "FACL",
    "MAE",
    "MSE",
    "SSIM",
    "Balanced",
    "ExponentiallyWeighted",
    "Huber",
    "LeadTimeWeighted",
    "Loss",
    "MultiScale",
    "SoftCSI",
    "Sum",
]
