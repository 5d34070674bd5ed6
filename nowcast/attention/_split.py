"""How many heads or groups channels are split into."""

import math

from nowcast.contracts import InputError


def split_into(thing: str, asked: int | None, usual: int, channels: int) -> int:
    """The number of heads or groups: `asked`, or when that is None what of the `usual` number divides C.

    Args:
        thing: what is split, for messages: "sge groups".
        asked: what the user set, or None.
        usual: the paper's number; its greatest common divisor with `channels` is taken.
        channels: C.

    Raises:
        InputError: when `asked` does not divide C.
    """
    if asked is None:
        return math.gcd(usual, channels)
    if asked < 1 or channels % asked:
        possible = ", ".join(str(n) for n in range(1, channels + 1) if channels % n == 0)
        raise InputError(f"{asked} {thing} do not divide {channels} channels; {possible} would do")
    return asked
