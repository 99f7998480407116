"""TimeSformer: attention in two steps, along time at each place, then over the places of each frame.

Bertasius, Wang and Torresani 2021, "Is Space-Time Attention All You Need for Video Understanding?",
https://arxiv.org/abs/2102.05095. Letters in comments: B batch, T frames, P places of a frame, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbook.encoders.bert import MultiHeadAttention
from mmbook.encoders.reference import options_of, read_imagenet, renamed
from mmbook.modality import Modality
from mmbook.registry import register


class DividedBlock(nn.Module):
    """Attention along time, attention over places, a two-layer perceptron; each added to its input.

    Letting all T · P tokens look at all would cost (T · P)² scores; divided, it is T · P · (T + P).
    """

    def __init__(
        self, width: int, heads: int, hidden: int, dropout: float, attention_dropout: float, eps: float
    ) -> None:
        super().__init__()
        self.time_norm = nn.LayerNorm(width, eps=eps)
        self.time_attention = MultiHeadAttention(width, heads, attention_dropout)
        self.time_out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = MultiHeadAttention(width, heads, attention_dropout)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, token: Tensor, x: Tensor, attend: Tensor | None, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step for the class token and for all patches.

        Args:
            token: ``(B, 1, D)``.
            x: ``(B, P, T, D)``, place by place.
            attend: ``(B * P, 1, 1, T)`` bool, True at the frames that may be looked at; None for all.
            share: ``(B, T, 1)``, what each frame counts for the class token; sums to one over the real ones.
        """
        B, P, T, _ = x.shape
        past = self.time_attention(self.time_norm(x).flatten(0, 1), attend)  # (B * P, T, D)
        x = x + self.time_out(self.dropout(past)).unflatten(0, (B, P))
        # every frame gets a copy of the class token, which looks at its places and is looked at
        frames = torch.cat([token.unsqueeze(1).expand(B, T, 1, -1), x.transpose(1, 2)], dim=2)
        seen = self.dropout(self.attention(self.attention_norm(frames).flatten(0, 1)))  # (B * T, 1 + P, D)
        seen = seen.unflatten(0, (B, T))
        token = token + (seen[:, :, 0] * share).sum(dim=1, keepdim=True)
        x = x + seen[:, :, 1:].transpose(1, 2)
        return token + self._perceptron(token), x + self._perceptron(x)

    def _perceptron(self, x: Tensor) -> Tensor:
        return self.dropout(self.contract(self.dropout(F.gelu(self.expand(self.norm(x))))))


@register
class SpaceTime(nn.Module):
    """Videos ``(B, T, 3, H, W)`` to tokens ``(B, 1 + T * h * w, width)``.

    The first token is the class token, which gathers the whole video; after it come the patches, frame by
    frame and row by row. Equal to ``transformers.TimesformerModel(...).last_hidden_state`` (which has the
    patches place by place) on videos of exactly `frames` frames.

    A shorter video takes the first of the learned vectors for the frames: frame t always has vector t, and
    what a video says does not depend on the padding beside it. (The reference stretches the vectors over the
    frames there are, padding included, and has no mask.)

    Args:
        size: height and width of a frame, in pixels; a multiple of `patch`.
        frames: most frames of a video.
        patch: height and width of a patch, in pixels.
        width: numbers a token, `out_dim`.
        layers, heads: blocks, and attention heads in each.
        hidden: width inside the perceptron of a block.
        dropout, attention_dropout: probabilities, on the additions and on the attention weights.
        eps: added to the variance in layer norm.

    The defaults are the size of ViT-Ti for 16 frames of 64 x 64 pixels, 7.7 M parameters;
    ``SpaceTime(224, 8, width=768, heads=12, hidden=3072)`` is the paper's, 121 M.
    """

    reads: ClassVar[str] = "video"
    source: ClassVar[str] = "Bertasius et al. 2021"
    weights: str = "random"

    def __init__(
        self,
        size: int = 64,
        frames: int = 16,
        patch: int = 16,
        width: int = 192,
        layers: int = 12,
        heads: int = 3,
        hidden: int = 768,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        if size < patch or size % patch or frames < 1:
            raise ValueError(
                f"size is {size} and frames {frames}; give a multiple of patch {patch}, and at least 1 frame"
            )
        self.size, self.out_dim = size, width
        self.patches = nn.Conv2d(3, width, kernel_size=patch, stride=patch)  # one linear map of each patch
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + (size // patch) ** 2, width))
        self.times = nn.Parameter(torch.empty(1, frames, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            DividedBlock(width, heads, hidden, dropout, attention_dropout, eps) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps=eps)
        for name, parameter in self.named_parameters():
            if name.endswith("bias") or name == "times":
                nn.init.zeros_(parameter)
            elif "norm" not in name:
                nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, video: Modality) -> Modality:
        """Values ``(B, T, 3, size, size)``, T at most `frames`.

        Raises:
            ValueError: frames of another size, or too many of them.
        """
        shape = tuple(video.values.shape)
        if len(shape) != 5 or shape[2:] != (3, self.size, self.size):
            raise ValueError(
                f"video has shape {shape}; this SpaceTime takes (B, T, 3, {self.size}, {self.size}): give "
                f"size={self.size} to VideoProcessor, or make one of another size"
            )
        if shape[1] > self.times.shape[1]:
            raise ValueError(
                f"a video of {shape[1]} frames is longer than frames={self.times.shape[1]}; lower "
                f"VideoProcessor's frames"
            )
        values, mask = video.cleaned()
        B, T = mask.shape
        x = self.patches(values.flatten(0, 1)).flatten(2)  # (B * T, D, P)
        x = x.unflatten(0, (B, T)).permute(0, 3, 1, 2)  # (B, P, T, D)
        x = self.dropout(x + self.positions[:, 1:, None])
        x = self.dropout(x + self.times[:, None, :T])
        token = self.dropout(self.class_token + self.positions[:, :1]).expand(B, -1, -1)
        attend = None
        if torch.compiler.is_compiling() or not mask.all():  # a traced graph must serve both
            attend = mask | ~mask.any(dim=1, keepdim=True)  # a row without a video: softmax of nothing is 0/0
            attend = attend.repeat_interleave(x.shape[1], dim=0)[:, None, None]  # (B * P, 1, 1, T)
        share = mask.to(x.dtype) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        for block in self.blocks:
            token, x = block(token, x, attend, share.unsqueeze(-1))
        x = torch.cat([token, x.transpose(1, 2).flatten(1, 2)], dim=1)  # (B, 1 + T * P, D)
        places = mask.repeat_interleave(self.positions.shape[1] - 1, dim=1)
        return Modality(self.norm(x), torch.cat([mask.any(dim=1, keepdim=True), places], dim=1)).cleaned()

    @classmethod
    def from_reference(cls, module: Any) -> SpaceTime:
        """A copy of a ``transformers.TimesformerModel``, in its training or evaluation mode.

        Raises:
            ValueError: a model of another kind (joint attention, no bias, frames that are not square, ...).
        """
        c = module.config
        kind = {n: getattr(c, n) for n in ("attention_type", "hidden_act", "qkv_bias", "drop_path_rate")}
        expected = {"attention_type": "divided_space_time", "hidden_act": "gelu", "qkv_bias": True}
        square = isinstance(c.image_size, int) and isinstance(c.patch_size, int)
        if kind != expected | {"drop_path_rate": 0} or not square or c.num_channels != 3:
            raise ValueError(
                f"this TimesformerModel has {kind}, image_size={c.image_size}, patch_size={c.patch_size}, "
                f"num_channels={c.num_channels}; ours has divided_space_time, 'gelu', biases, no drop path, "
                f"square frames and patches, 3 channels"
            )
        model = cls(**options_of(c, size="image_size", frames="num_frames", patch="patch_size"))
        model.load_state_dict(our_weights(module.state_dict()))
        return model.train(module.training)

    @classmethod
    def from_pretrained(cls, name: str = "facebook/timesformer-base-finetuned-k400") -> SpaceTime:
        """With weights from the hub, or from a folder that transformers wrote: 486 MB for the paper's.

        Takes videos as `mmbook.preprocess.VideoProcessor` makes them. Where the weights were trained with
        another mean and deviation than ImageNet's, the difference is put into the first layer, which is
        linear.
        """
        from transformers import TimesformerModel

        model = cls.from_reference(TimesformerModel.from_pretrained(name))
        read_imagenet(model.patches, name)
        model.weights = "pretrained"
        return model.eval()


# What transformers calls a thing, and what it is called here.
_NAMES = {
    r"^embeddings\.cls_token": "class_token",
    r"^embeddings\.position_embeddings": "positions",
    r"^embeddings\.time_embeddings": "times",
    r"^embeddings\.patch_embeddings\.projection\.": "patches.",
    r"^layernorm\.": "norm.",
    r"^encoder\.layer\.": "blocks.",
    r"\.temporal_layernorm\.": ".time_norm.",
    r"\.temporal_dense\.": ".time_out.",
    r"\.layernorm_before\.": ".attention_norm.",
    r"\.layernorm_after\.": ".norm.",
    r"\.temporal_attention\.": ".time_attention.",
    r"attention\.attention\.qkv\.": "attention.qkv.",
    r"attention\.output\.dense\.": "attention.out.",
    r"\.intermediate\.dense\.": ".expand.",
    r"\.output\.dense\.": ".contract.",
}


def our_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a ``transformers.TimesformerModel`` (weights or gradients) under our names."""
    return renamed(weights, _NAMES)
