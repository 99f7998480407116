"""GRU over log-mel frames: the LSTM's idea with two gates, and one state that is memory and output at once.

Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
Translation", https://aclanthology.org/D14-1179.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from mmbook.encoders.recurrent import Recurrent
from mmbook.registry import register


def gru_cell(
    x: Tensor, h: Tensor, w_input: Tensor, w_state: Tensor, b_input: Tensor, b_state: Tensor
) -> Tensor:
    """One step of a GRU, the formulas as they stand in a textbook; ``torch.nn.GRU`` computes the same.

    Args:
        x: input of this step ``(B, D)``.
        h: state of the step before ``(B, width)``.
        w_input, w_state: ``(3 * width, D)`` and ``(3 * width, width)``; b_input, b_state: ``(3 * width,)``.
            Three layers in one: reset gate, update gate, candidate. Here both biases are needed: the reset
            gate acts on the state's share of the candidate, its bias included (in the paper on the state
            itself). The names in torch are weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0.

    Returns:
        The new h.
    """
    reset, update, candidate = (x @ w_input.T + b_input).chunk(3, dim=-1)  # each (B, width)
    reset_h, update_h, candidate_h = (h @ w_state.T + b_state).chunk(3, dim=-1)
    keep = (update + update_h).sigmoid()
    new = (candidate + (reset + reset_h).sigmoid() * candidate_h).tanh()
    return keep * h + (1 - keep) * new


@register
class GRU(Recurrent):
    """Waveforms ``(B, T)`` to tokens ``(B, T', out_dim)``, one for each `stack` log-mel frames (25 a second).

    Equal to ``torch.nn.GRU`` on packed sequences: see `Recurrent`, which has the arguments, for how padding
    is kept out.
    """

    source: ClassVar[str] = "Cho et al. 2014"
    layer: ClassVar[type[nn.LSTM] | type[nn.GRU]] = nn.GRU
