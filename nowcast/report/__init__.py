"""Pictures and pages from forecasts and scores; imports no torch."""
