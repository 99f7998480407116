"""LSTM and GRU over log-mel frames: a state that is carried along the sound.

LSTM: Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735, with the forget gate of
Gers, Schmidhuber and Cummins 2000, https://doi.org/10.1162/089976600300015015. GRU, with two gates and one
state that is memory and output at once: Cho et al. 2014, "Learning Phrase Representations using RNN
Encoder-Decoder for Statistical Machine Translation", https://aclanthology.org/D14-1179.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from mmbook.encoders.mel import LogMel
from mmbook.modality import Modality
from mmbook.moved import moved_names
from mmbook.registry import register

__getattr__ = moved_names(__name__)

R = TypeVar("R", bound="Recurrent")


def stack_frames(frames: Modality, stack: int) -> Modality:
    """Join each `stack` neighbouring frames ``(B, T, D)`` into one of ``(B, ceil(T / stack), stack * D)``.

    Speech changes slowly against 100 frames a second, and a recurrent net takes one step after another. Fewer
    and wider steps cost less (Sak et al. 2015, https://arxiv.org/abs/1507.06947). A last frame that is only
    partly real is filled up with zeros.
    """
    values, mask = frames.cleaned()
    extra = -values.shape[1] % stack
    values = nn.functional.pad(values, (0, 0, 0, extra)).unflatten(1, (-1, stack)).flatten(2)
    mask = nn.functional.pad(mask, (0, extra)).unflatten(1, (-1, stack)).any(dim=2)
    return Modality(values, mask)


def reverse_rows(x: Tensor, mask: Tensor) -> Tensor:
    """`x` ``(B, T, D)`` with the real steps of each row in reverse order; the padding stays at the end."""
    step = torch.arange(x.shape[1], device=x.device)
    length = mask.sum(dim=1, keepdim=True)  # (B, 1)
    source = torch.where(step < length, length - 1 - step, step)  # (B, T)
    return x.gather(1, source[..., None].expand_as(x))


def half_precisions() -> frozenset[torch.dtype]:
    """The half precisions in which this CPU can run recurrent layers: bfloat16 and float16, one or none.

    On a CPU torch hands an LSTM to oneDNN, which has half precision only for processors with instructions for
    it (bfloat16: AVX-512 on x86); on others it stops with "could not create a primitive descriptor". It has
    slower ways for convolutions and matrix products there, but none for recurrent layers.
    """
    if not torch.backends.mkldnn.is_available():
        return frozenset((torch.bfloat16, torch.float16))  # torch's own layers, which run in every type
    supported = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported(),
    }
    return frozenset(dtype for dtype, native in supported.items() if native)


HALF_PRECISIONS = half_precisions()  # found once: a compiled model cannot ask


def autocast_recurrent(device: torch.device) -> torch.autocast:
    """Autocast for recurrent layers: as it is now, but off on a CPU that cannot run them in its type."""
    on = torch.is_autocast_enabled(device.type)
    if on and device.type == "cpu":
        on = torch.get_autocast_dtype("cpu") in HALF_PRECISIONS
    return torch.autocast(device.type, enabled=on)


class Recurrent(nn.Module):
    """Waveforms ``(B, T)`` to tokens ``(B, T', out_dim)``, one for each `stack` log-mel frames (25 a second).

    A subclass says which recurrent layer of torch it runs. A forward layer cannot see what comes later, so
    padding at the end of a row does not reach its real steps. A backward one is a forward one over the
    reversed row, its padding again at the end.

    Under autocast to half precision the layers stay in float32 on a CPU that cannot run them in less.

    Args:
        width: of the state h in one direction.
        layers: recurrent layers on top of each other.
        bidirectional: a second one runs from the end; `out_dim` is then ``2 * width``.
        dropout: between layers.
        stack: log-mel frames joined into one step.
        mel: the front end; None for ``LogMel()``.
    """

    reads: ClassVar[str] = "audio"
    layer: ClassVar[type[nn.LSTM] | type[nn.GRU]]

    def __init__(
        self,
        width: int = 128,
        layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        stack: int = 4,
        mel: LogMel | None = None,
    ) -> None:
        super().__init__()
        self.out_dim = 2 * width if bidirectional else width
        self.stack = stack
        self.mel = mel or LogMel()
        inputs = [self.mel.out_dim * stack] + [self.out_dim] * (layers - 1)
        self.forwards = nn.ModuleList(self.layer(d, width, batch_first=True) for d in inputs)
        backwards = inputs if bidirectional else []
        self.backwards = nn.ModuleList(self.layer(d, width, batch_first=True) for d in backwards)
        self.dropout = nn.Dropout(dropout)

    def forward(self, audio: Modality) -> Modality:
        """Values ``(B, T)`` float at the front end's rate, padding at the end of each row."""
        x, mask = stack_frames(self.mel(audio), self.stack)
        with autocast_recurrent(x.device):
            for i, forwards in enumerate(self.forwards):  # one direction, then the other, layer by layer
                x = self.dropout(x) if i else x
                y, _ = forwards(x)
                if self.backwards:
                    z, _ = self.backwards[i](reverse_rows(x, mask))
                    y = torch.cat([y, reverse_rows(z, mask)], dim=-1)
                x = y
        return Modality(x, mask).cleaned()

    @classmethod
    def from_reference(cls: type[R], module: nn.RNNBase, stack: int = 4) -> R:
        """With the weights of a ``torch.nn.LSTM`` or ``GRU``, whose input is `stack` log-mel frames.

        Raises:
            ValueError: a layer of another kind or variant; an input that `stack` does not divide.
        """
        kind = type(module).__name__
        if not isinstance(module, cls.layer):
            raise ValueError(f"{cls.__name__} got a {kind}; it takes the weights of nn.{cls.layer.__name__}")
        if module.input_size % stack or module.proj_size or not module.bias:
            raise ValueError(
                f"this nn.{kind} has input_size={module.input_size}, proj_size={module.proj_size}, "
                f"bias={module.bias}; ours needs a multiple of stack={stack}, no projection, and biases"
            )
        mel = LogMel(n_mels=module.input_size // stack)
        model = cls(module.hidden_size, module.num_layers, module.bidirectional, module.dropout, stack, mel)
        weights = module.state_dict()
        for layers, suffix in ((model.forwards, ""), (model.backwards, "_reverse")):
            for i, layer in enumerate(layers):
                # "weight_ih_l0" of the single layer is "weight_ih_l1_reverse" in the stack, say
                names = {name: name.replace("_l0", f"_l{i}{suffix}") for name in layer.state_dict()}
                layer.load_state_dict({name: weights[theirs] for name, theirs in names.items()})
        return model.train(module.training)


@register
class LSTM(Recurrent):
    """Waveforms ``(B, T)`` to tokens ``(B, T', out_dim)``, one for each `stack` log-mel frames (25 a second).

    Equal to ``torch.nn.LSTM`` on packed sequences, and several times faster on a CPU, where packing costs
    most: see `Recurrent`, which has the arguments, for how padding is kept out.
    """

    source: ClassVar[str] = "Hochreiter and Schmidhuber 1997"
    layer: ClassVar[type[nn.LSTM] | type[nn.GRU]] = nn.LSTM


@register
class GRU(Recurrent):
    """Waveforms ``(B, T)`` to tokens ``(B, T', out_dim)``, one for each `stack` log-mel frames (25 a second).

    Equal to ``torch.nn.GRU`` on packed sequences: see `Recurrent`, which has the arguments, for how padding
    is kept out.
    """

    source: ClassVar[str] = "Cho et al. 2014"
    layer: ClassVar[type[nn.LSTM] | type[nn.GRU]] = nn.GRU
