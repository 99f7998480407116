"""wav2vec 2.0: convolutions over the waveform, then a Transformer over what they found.

Baevski et al. 2020, "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations",
https://arxiv.org/abs/2006.11477. Letters in comments: B batch, T samples, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbook.encoders.bert import PostNormBlock
from mmbook.encoders.mel import checked_waves
from mmbook.encoders.reference import options_of, renamed
from mmbook.encoders.vit import PreNormBlock
from mmbook.modality import Modality
from mmbook.registry import register

NORMS = ("group", "layer")


class WaveConv(nn.Module):
    """Convolution without padding over ``(B, C, T)``, a norm, GELU.

    Args:
        before, after: channels.
        kernel, stride: in steps of the input.
        bias: of the convolution.
        norm: "layer" normalises each step over its channels; "group" each channel over the real steps of its
            row; None does neither.
    """

    def __init__(
        self, before: int, after: int, kernel: int, stride: int, bias: bool, norm: str | None
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.kind = kernel, stride, norm
        self.conv = nn.Conv1d(before, after, kernel, stride, bias=bias)
        nn.init.kaiming_normal_(self.conv.weight)
        if norm == "group":
            self.norm: nn.Module | None = nn.GroupNorm(after, after)
        else:
            self.norm = nn.LayerNorm(after) if norm else None

    def counts(self, counts: Tensor) -> Tensor:
        """Number of output steps ``(B,)`` for `counts` ``(B,)`` input steps."""
        return ((counts - self.kernel) // self.stride + 1).clamp(min=0)

    def forward(self, x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """`x` ``(B, C, T)``, of whose rows the first `counts` ``(B,)`` steps are real.

        No kernel that ends inside them reads beyond them, so only a norm over time has to know about padding.
        """
        x, counts = self.conv(x), self.counts(counts)
        if isinstance(self.norm, nn.LayerNorm):
            x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        elif isinstance(self.norm, nn.GroupNorm):
            x = norm_over_time(x, counts, self.norm)
        return F.gelu(x), counts


def norm_over_time(x: Tensor, counts: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Each channel of ``(B, C, T)`` to mean 0 and variance 1 over the first `counts` ``(B,)`` steps of a row.

    Where all steps are real, this is `norm` itself, of one channel a group. What the output holds after the
    real steps has no meaning.
    """
    real = torch.arange(x.shape[2], device=x.device) < counts[:, None]  # (B, T)
    if not torch.compiler.is_compiling() and real.all():
        # not norm(x), whose Python layer refuses a batch of one sound with one step
        return torch.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)
    with torch.autocast(x.device.type, enabled=False):  # sums over thousands of steps need float32
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        count = counts.clamp(min=1)[:, None, None]
        mean = x @ real.to(x.dtype)[:, :, None] / count  # (B, C, 1)
        x = (x - mean).masked_fill_(~real[:, None], 0)
        variance = torch.linalg.vector_norm(x, dim=2, keepdim=True) ** 2 / count
        scale = norm.weight[:, None] * (variance + norm.eps).rsqrt()
        return torch.addcmul(norm.bias[:, None], x, scale)


def wave_convs(
    channels: Sequence[int], kernels: Sequence[int], strides: Sequence[int], bias: bool, norm: str
) -> nn.ModuleList:
    """The layers in a row. With norm "group" only the first one has a norm, with "layer" all have.

    Raises:
        ValueError: an unknown norm; none, or unequal numbers, of channels, kernels and strides.
    """
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}; choose one of {', '.join(NORMS)}")
    if not len(channels) == len(kernels) == len(strides) or not channels:
        raise ValueError(
            f"there are {len(channels)} channels, {len(kernels)} kernels, {len(strides)} strides; give one "
            f"of each for every layer, and at least one layer"
        )
    sizes = zip((1, *channels), channels, kernels, strides, strict=False)
    return nn.ModuleList(
        WaveConv(*size, bias, norm if norm == "layer" or i == 0 else None) for i, size in enumerate(sizes)
    )


def receptive_field(convs: nn.ModuleList) -> int:
    """How many samples one output step of the layers reads."""
    field = 1
    layers: list[Any] = list(convs)  # to a type checker a module in a list has no kernel
    for conv in reversed(layers):
        field = (field - 1) * conv.stride + conv.kernel
    return field


@register
class Wav2Vec2(nn.Module):
    """Waveforms ``(B, T)`` at 16 kHz to tokens ``(B, N, width)``, one for 20 ms of sound with the defaults.

    Equal to ``transformers.Wav2Vec2Model(...).last_hidden_state`` at the real tokens, and blind to padding
    also where that one is not: with norm "group" it normalises over the padding too. What acts in pretraining
    only is left out: the quantiser, the masking of spans, dropout inside the perceptrons, and LayerDrop,
    whose skipped layers would have no gradient, for which distributed training waits.

    A row of n samples has as many tokens as kernels fit into it; a shorter row than one token reads (400
    samples) has one, filled up with silence; an empty row none.

    Args:
        channels, kernels, strides: of the convolutions over the waveform, one of each for a layer.
        conv_bias: whether those have biases.
        norm: "group" (the "base" models): the first of them normalises each channel over the real time of its
            row; "layer" (the "large" ones): all of them normalise each step over its channels.
        width: numbers a token, `out_dim`.
        layers, heads: Transformer blocks, and attention heads in each.
        hidden: width inside the perceptron of a block.
        position_kernel, position_groups: of the convolution over tokens that tells them where they are.
        norm_first: blocks as in a ViT, with the norm before each part (the "large" models), and not as in
            BERT, with the norm after each addition.
        dropout, attention_dropout: probabilities, on the additions and on the attention weights.
        projection_dropout: after the projection from `channels` to `width`.
        eps: added to the variance in the layer norms after the convolutions.
        normalise: shift and scale the real samples of each row to mean 0 and variance 1 first, as
            ``transformers.Wav2Vec2FeatureExtractor(do_normalize=True)`` does. It removes how loud a sound is.

    The defaults are the base model of the paper (94 M parameters).

    Raises:
        ValueError: sizes that do not fit each other.
    """

    reads: ClassVar[str] = "audio"
    source: ClassVar[str] = "Baevski et al. 2020"
    weights: str = "random"

    def __init__(
        self,
        channels: Sequence[int] = (512, 512, 512, 512, 512, 512, 512),
        kernels: Sequence[int] = (10, 3, 3, 3, 3, 2, 2),
        strides: Sequence[int] = (5, 2, 2, 2, 2, 2, 2),
        conv_bias: bool = False,
        norm: str = "group",
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        hidden: int = 3072,
        position_kernel: int = 128,
        position_groups: int = 16,
        norm_first: bool = False,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        projection_dropout: float = 0.0,
        eps: float = 1e-5,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self.out_dim = width
        self.normalise = normalise
        self.norm_first = norm_first
        self.convs = wave_convs(channels, kernels, strides, conv_bias, norm)
        self.field = receptive_field(self.convs)
        self.features_norm = nn.LayerNorm(channels[-1], eps=eps)
        self.project = nn.Linear(channels[-1], width)
        self.positions = nn.Conv1d(width, width, position_kernel, groups=position_groups)
        self.norm = nn.LayerNorm(width, eps=eps)
        block = PreNormBlock if norm_first else PostNormBlock
        self.blocks = nn.ModuleList(
            block(width, heads, hidden, dropout, attention_dropout, eps) for _ in range(layers)
        )
        self.project_dropout = nn.Dropout(projection_dropout)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.positions.weight, std=2 / (position_kernel * width) ** 0.5)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, audio: Modality) -> Modality:
        """Values ``(B, T)`` float at 16 kHz, padding at the end of each row.

        Raises:
            ValueError: another shape; padding before or between the samples.
        """
        x, mask = self.features(audio)
        x = self.project_dropout(self.project(self.features_norm(x)))
        # the position of a token comes from its neighbours: the padding must be zero before they are read
        x = x.masked_fill(~mask[..., None], 0)
        x = x + self.place(x)
        x = self.dropout(x if self.norm_first else self.norm(x))
        # softmax over nothing is 0 / 0: a row without a sound looks at its own padding, and is blanked later
        attend = (mask | ~mask.any(dim=1, keepdim=True))[:, None, None, :]  # (B, 1, 1, N)
        for block in self.blocks:
            x = block(x, attend)
        return Modality(self.norm(x) if self.norm_first else x, mask).cleaned()

    def features(self, audio: Modality) -> Modality:
        """What the convolutions make of the waveform: ``(B, N, channels)``, each step by itself.

        Raises:
            ValueError: as `forward` does.
        """
        x, mask = self.samples(audio)
        lengths = mask.sum(dim=1)
        counts = torch.where(lengths > 0, lengths.clamp(min=self.field), 0)
        x = F.pad(x, (0, max(0, self.field - x.shape[1])))[:, None]  # (B, 1, T)
        for conv in self.convs:
            x, counts = conv(x, counts)
        real = torch.arange(x.shape[2], device=x.device) < counts[:, None]
        return Modality(x.transpose(1, 2), real)

    def samples(self, audio: Modality) -> Modality:
        """The waveforms checked, zero under the mask, and normalised where `normalise` is set."""
        waves, mask = checked_waves(audio)
        if self.normalise:
            count = mask.sum(dim=1, keepdim=True).clamp(min=1)
            centred = (waves - waves.sum(dim=1, keepdim=True) / count).masked_fill(~mask, 0)
            waves = centred / (centred.square().sum(dim=1, keepdim=True) / count + 1e-7).sqrt()
        return Modality(waves, mask)

    def place(self, x: Tensor) -> Tensor:
        """What each token of ``(B, N, D)`` learns about its place: a wide convolution over its neighbours."""
        kernel = self.positions.kernel_size[0]
        around = F.pad(x.transpose(1, 2), (kernel // 2, (kernel - 1) // 2))  # (B, D, kernel - 1 + N)
        return F.gelu(self.positions(around)).transpose(1, 2)

    @classmethod
    def from_reference(cls, module: Any, normalise: bool = False) -> Wav2Vec2:
        """A copy of a ``transformers.Wav2Vec2Model``, with its weights, in its training or evaluation mode.

        Its weight norm is folded: our convolution over positions holds the weights that the two factors make.

        Args:
            module: the model.
            normalise: as above; the reference's feature extractor does that, not the model.

        Raises:
            ValueError: a wav2vec 2.0 of another kind (activations, adapters).
        """
        c = module.config
        kind = {name: getattr(c, name) for name in ("hidden_act", "feat_extract_activation", "add_adapter")}
        kind["adapter_attn_dim"] = getattr(c, "adapter_attn_dim", None)
        if list(kind.values()) != ["gelu", "gelu", False, None]:
            raise ValueError(f"this Wav2Vec2Model has {kind}; ours has 'gelu' in both places and no adapters")
        model = cls(
            **options_of(
                c,
                channels="conv_dim",
                kernels="conv_kernel",
                strides="conv_stride",
                conv_bias="conv_bias",
                norm="feat_extract_norm",
                position_kernel="num_conv_pos_embeddings",
                position_groups="num_conv_pos_embedding_groups",
                norm_first="do_stable_layer_norm",
                dropout="hidden_dropout",
                attention_dropout="attention_dropout",
                projection_dropout="feat_proj_dropout",
            ),
            normalise=normalise,
        )
        weights = dict(module.state_dict())
        # the product, of which the reference's state_dict has the two factors
        weights["encoder.pos_conv_embed.conv.weight"] = module.encoder.pos_conv_embed.conv.weight.detach()
        model.load_state_dict(our_weights(weights))
        return model.train(module.training)

    @classmethod
    def from_pretrained(cls, name: str = "facebook/wav2vec2-base") -> Wav2Vec2:
        """Weights that transformers can load: a name on the Hugging Face hub, or a folder.

        Whether the sound is normalised comes from the feature extractor saved beside them.
        """
        from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

        extractor = Wav2Vec2FeatureExtractor.from_pretrained(name)
        model = cls.from_reference(Wav2Vec2Model.from_pretrained(name), extractor.do_normalize)
        model.weights = "pretrained"
        return model.eval()


# What transformers calls a thing, and what it is called here.
_NAMES = {
    r"^feature_extractor\.conv_layers\.": "convs.",
    r"^feature_projection\.layer_norm\.": "features_norm.",
    r"^feature_projection\.projection\.": "project.",
    r"^encoder\.pos_conv_embed\.conv\.": "positions.",
    r"^encoder\.layers\.": "blocks.",
    r"^encoder\.layer_norm\.": "norm.",
    r"^(convs\.\d+)\.layer_norm\.": r"\1.norm.",
    r"^(blocks\.\d+)\.layer_norm\.": r"\1.attention_norm.",
    r"\.final_layer_norm\.": ".norm.",
    r"\.attention\.out_proj\.": ".attention.out.",
    r"\.feed_forward\.intermediate_dense\.": ".expand.",
    r"\.feed_forward\.output_dense\.": ".contract.",
}


def our_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a ``transformers.Wav2Vec2Model`` (weights or gradients) under our names.

    Without the vector that stands for a masked span, and without the two factors of the weight norm.
    """
    left_out = r"^masked_spec_embed$|\.parametrizations\."
    return renamed(weights, _NAMES, left_out, qkv=("q_proj", "k_proj", "v_proj"))
