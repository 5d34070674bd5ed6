"""SA-ConvLSTM: a ConvLSTM with a second memory that attention over the whole map fills.

Lin, Li, Zheng, Cheng and Yuan 2020, "Self-Attention ConvLSTM for Spatiotemporal Prediction", AAAI,
doi 10.1609/aaai.v34i07.6819.
"""

import torch
from torch import nn

from nowcast.attention._tokens import as_map, attend, tokens
from nowcast.attention._width import reduced
from nowcast.models._blocks import AttentionFactory
from nowcast.models._cells._cell import Cell, State, lstm_step, same_size

__all__ = ["SelfAttentionConvLSTMCell"]


class SelfAttentionConvLSTMCell(Cell):
    """State (h, c, m): a ConvLSTM step on (h, c), then self-attention memory turns its h and m into the new h and m.

    Costs O(H²W²) a step, so it belongs to the coarse levels.

    Args:
        channels: C of the input; 0 for a cell that has none.
        width: channels of h, c and m.
        kernel: size of the convolution of h.
        reduction: ratio of width to that of queries and keys.
        attention: builds further attention for a number of channels.
        on: "input", "hidden" or "gates".
    """

    states = 3

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        kernel: int = 5,
        reduction: int = 2,
        attention: AttentionFactory | None = None,
        on: str = "hidden",
    ) -> None:
        super().__init__(channels, width, drives=4 * width, gates=4 * width, attention=attention, on=on)
        self.recurrent = same_size(width, 4 * width, kernel)
        self.self_attention_memory = SelfAttentionMemory(width, reduced(width, reduction, minimum=1))

    def forward(self, drive: torch.Tensor, state: State) -> State:
        hidden, memory, far = state
        gates = self.attend_gates(drive + self.recurrent(self.attend_hidden(hidden)))
        hidden, memory = lstm_step(gates, memory)
        hidden, far = self.self_attention_memory(hidden, far)
        return hidden, memory, far


class SelfAttentionMemory(nn.Module):
    """Pixels of h query all pixels of h and of m; what they gather enters m through a gate and leaves as the new h.

    Z = W [softmax(Q Kᵀ) V of h; softmax(Q K'ᵀ) V' of m]; i, g, o from Z and h;
    m ← (1 − σ(i)) m + σ(i) tanh(g); h = σ(o) m. Products are not divided by √D.

    Args:
        channels: of h and m, (B, C, H, W) each.
        width: D, of queries and keys.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, width)
        # No softmax over keys can notice a bias of theirs.
        self.keys = nn.ModuleList(nn.Linear(channels, width, bias=False) for _ in range(2))
        self.values = nn.ModuleList(nn.Linear(channels, channels) for _ in range(2))
        self.fuse = nn.Conv2d(2 * channels, channels, 1)
        self.gates = nn.Conv2d(2 * channels, 3 * channels, 1)

    def forward(self, hidden: torch.Tensor, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        query = self.query(tokens(hidden))
        gathered = [
            as_map(attend(query, key(tokens(seen)), value(tokens(seen)), scale=1.0), like=hidden)
            for seen, key, value in zip((hidden, memory), self.keys, self.values, strict=True)
        ]
        both = self.fuse(torch.cat(gathered, dim=1))
        enter, new, leave = self.gates(torch.cat([both, hidden], dim=1)).chunk(3, dim=1)
        memory = torch.lerp(memory, new.tanh().to(memory.dtype), enter.sigmoid().to(memory.dtype))
        return leave.sigmoid() * memory, memory
