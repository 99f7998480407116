"""What each encoder costs and where it comes from, measured on the encoder itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmbook.answers import evaluating
from mmbook.modality import Modality

if TYPE_CHECKING:
    import pandas as pd

# One sample of each modality at the size that chapters use on a laptop.
SAMPLES = {
    "text": ("32 tokens", torch.zeros(1, 32, dtype=torch.long)),
    "image": ("96 x 96", torch.zeros(1, 1, 3, 96, 96)),
    "audio": ("1 s", torch.zeros(1, 16000)),
    "video": ("8 x 64 x 64", torch.zeros(1, 8, 3, 64, 64)),
}


def overview(encoders: Iterable[nn.Module], samples: dict[str, Tensor] | None = None) -> pd.DataFrame:
    """One row for each encoder: what it reads, parameters, floating-point operations, `out_dim`, source.

    Args:
        encoders: built encoders, such as ``[Bert.minilm(), build_encoder("resnet")]``.
        samples: modality -> values ``(1, T, ...)`` to count operations for; where not given, 32 tokens, a
            picture of 96 by 96 pixels, a second of sound, eight frames of 64 by 64 pixels.

    Returns:
        Columns reads, sample, tokens (that the sample becomes), out_dim, parameters, MFLOPs, weights, source;
        the index is the class. "pretrained" stands under weights where the encoder came with them.
    """
    import pandas as pd

    given = {name: (" x ".join(map(str, x.shape[1:])), x) for name, x in (samples or {}).items()}
    rows: dict[str, dict[str, Any]] = {}
    for encoder in encoders:
        reads: Any = encoder.reads
        size, values = (SAMPLES | given)[reads]
        counted, tokens = flops(encoder, values)
        name = type(encoder).__name__
        rows[name if name not in rows else f"{name} ({len(rows)})"] = {
            "reads": reads,
            "sample": size,
            "tokens": tokens,
            "out_dim": encoder.out_dim,
            "parameters": sum(p.numel() for p in encoder.parameters()),
            "MFLOPs": round(counted / 1e6, 1),
            "weights": getattr(encoder, "weights", "random"),
            "source": encoder.source,
        }
    return pd.DataFrame(rows).T


def flops(encoder: nn.Module, values: Tensor) -> tuple[int, int]:
    """Floating-point operations of one forward pass on `values` ``(B, T, ...)``, and the tokens a row became.

    A multiplication and an addition are two operations. Counted are matrix products, convolutions, attention
    and recurrent layers, which is nearly all there is; norms, activations and Fourier transforms are not.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_ON_CPU)
    with counter, evaluating(encoder):
        out = encoder(Modality(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)))
    return counter.get_total_flops(), out.values.shape[1]


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Q Kᵀ and its product with V; shapes ``(B, heads, T, D)``."""
    B, heads, T, D = query
    return 2 * B * heads * T * key[2] * (D + value[3])


def _recurrent(x: Any, w_input: Any, w_state: Any, *_: Any, **__: Any) -> int:
    """Every step multiplies its input and its state; `x` is ``(T, B, D)`` or ``(B, T, D)``."""
    return 2 * x[0] * x[1] * (w_input[0] * w_input[1] + w_state[0] * w_state[1])


# What PyTorch's counter does not know: the kernels that a CPU takes instead of those of a GPU.
_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten.mkldnn_rnn_layer: _recurrent,
}
