"""Axial attention along columns: pixels gather from the pixels of their column.

Ho, Kalchbrenner, Weissenborn and Salimans 2019, arXiv 1912.12180.
"""

from nowcast.attention._card import Card
from nowcast.attention._lines import LineAttention, Positions

__all__ = ["ColumnAttention"]

CARD = Card(
    family="self-attention",
    paper="Ho et al., Axial Attention in Multidimensional Transformers",
    source="1912.12180",
    year=2019,
    equation="y = x + γ softmax(QKᵀ) V in each column",
    time="O(CN·H + C²N)",
    memory="O(CN)",
    note="The form of radar networks: products are not scaled, queries and keys narrow, γ from 0.",
)


class ColumnAttention(LineAttention):
    """Add to every pixel an average of the H pixels of its column by query and key: y = x + γ softmax(QKᵀ) V.

    (B, C, H, W) → (B, C, H, W). Columns do not see each other. Products are not divided by the root of their
    width. The weights are never held as a whole. γ starts at 0, so y = x at first.

    Args:
        channels: C.
        heads: number of heads.
        reduction: ratio of C to the width of queries and keys.
        positions: None, or "sinusoidal" codes of row and column, added where queries and keys are made.
        key_bias: whether keys have a bias, as in published copies; no softmax over keys can notice it.

    Raises:
        InputError: for heads that do not divide C.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 1,
        reduction: int = 8,
        positions: Positions | None = None,
        key_bias: bool = False,
    ) -> None:
        super().__init__("column", channels, heads, reduction, positions, key_bias)
