"""Widths of bottlenecks."""


def reduced(channels: int, reduction: int, minimum: int = 8) -> int:
    """channels // reduction, but at least `minimum` and at most `channels`.

    One or two ReLU units are easily dead for good, hence the floor; minimum=1 gives a paper's width.
    """
    return min(channels, max(channels // reduction, minimum))
