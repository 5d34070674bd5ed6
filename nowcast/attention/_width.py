"""Widths of bottlenecks."""


def reduced(channels: int, reduction: int, minimum: int = 8) -> int:
    """channels // reduction, but at least `minimum` and at most `channels`.

    A bottleneck of one or two ReLU units is easily dead for good, hence the floor; minimum=1 gives a paper's width.
    """
    return min(channels, max(channels // reduction, minimum))
