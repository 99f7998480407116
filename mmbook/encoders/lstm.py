"""LSTM over log-mel frames: a memory that is carried along the sound.

Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; with the forget gate of Gers,
Schmidhuber and Cummins 2000, https://doi.org/10.1162/089976600300015015.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from mmbook.encoders.recurrent import Recurrent
from mmbook.registry import register


def lstm_cell(
    x: Tensor, h: Tensor, c: Tensor, w_input: Tensor, w_state: Tensor, b_input: Tensor, b_state: Tensor
) -> tuple[Tensor, Tensor]:
    """One step of an LSTM, the formulas as they stand in a textbook; ``torch.nn.LSTM`` computes the same.

    Args:
        x: input of this step ``(B, D)``.
        h, c: output and memory of the step before, each ``(B, width)``.
        w_input, w_state: ``(4 * width, D)`` and ``(4 * width, width)``; b_input, b_state: ``(4 * width,)``.
            Four layers in one: input gate, forget gate, candidate, output gate. One bias would do;
            ``torch.nn.LSTM`` has two. Its names are weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0.

    Returns:
        The new h and c.
    """
    gates = x @ w_input.T + b_input + h @ w_state.T + b_state  # (B, 4 * width)
    write, keep, candidate, show = gates.chunk(4, dim=-1)
    c = keep.sigmoid() * c + write.sigmoid() * candidate.tanh()
    h = show.sigmoid() * c.tanh()
    return h, c


@register
class LSTM(Recurrent):
    """Waveforms ``(B, T)`` to tokens ``(B, T', out_dim)``, one for each `stack` log-mel frames (25 a second).

    Equal to ``torch.nn.LSTM`` on packed sequences, and several times faster on a CPU, where packing costs
    most: see `Recurrent`, which has the arguments, for how padding is kept out.
    """

    source: ClassVar[str] = "Hochreiter and Schmidhuber 1997"
    layer: ClassVar[type[nn.LSTM] | type[nn.GRU]] = nn.LSTM
