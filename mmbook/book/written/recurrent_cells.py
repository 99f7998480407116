"""One step of an LSTM and of a GRU, the formulas as they stand in a textbook; torch computes the same."""

from __future__ import annotations

from torch import Tensor


def lstm_cell(
    x: Tensor, h: Tensor, c: Tensor, w_input: Tensor, w_state: Tensor, b_input: Tensor, b_state: Tensor
) -> tuple[Tensor, Tensor]:
    """One step of an LSTM, equal to ``torch.nn.LSTMCell``.

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


def gru_cell(
    x: Tensor, h: Tensor, w_input: Tensor, w_state: Tensor, b_input: Tensor, b_state: Tensor
) -> Tensor:
    """One step of a GRU, equal to ``torch.nn.GRUCell``.

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
