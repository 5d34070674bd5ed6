"""Forecasts of an archive: any forecaster, chosen initial times, streamed to an output that can be resumed."""

from nowcast.forecasting.processes import Maker, Processes
from nowcast.forecasting.run import forecast_archive, open_output
from nowcast.forecasting.starts import choose_starts, possible_starts
from nowcast.forecasting.wanted import Wanted

__all__ = ["Maker", "Processes", "Wanted", "choose_starts", "forecast_archive", "open_output", "possible_starts"]
