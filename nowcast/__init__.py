"""Radar precipitation nowcasting: where rain will be in the next two hours, from the last radar frames."""

__version__ = "0.1.0"
