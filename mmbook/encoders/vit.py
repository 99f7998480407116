"""The Vision Transformer: a picture cut into patches, read like a sentence.

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
https://arxiv.org/abs/2010.11929. Letters in comments: N frames, T tokens of one of them, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbook.encoders.bert import MultiHeadAttention
from mmbook.encoders.grid import grid_tokens
from mmbook.encoders.reference import options_of, read_imagenet, renamed
from mmbook.modality import Modality
from mmbook.registry import register


class PreNormBlock(nn.Module):
    """Attention, then a two-layer perceptron on each token; each normalises what it reads, and adds to it.

    BERT normalises after the addition. With the norm inside the branch, the sum itself runs through all
    blocks untouched, and the gradient back through them: deep stacks train without a long warm-up.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, dropout: float, attention_dropout: float, eps: float
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = MultiHeadAttention(width, heads, attention_dropout)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, attend: Tensor | None = None) -> Tensor:
        """`x` ``(N, T, D)``; `attend` as in `MultiHeadAttention`, None where all tokens may look at all."""
        x = x + self.dropout(self.attention(self.attention_norm(x), attend))
        return x + self.dropout(self.contract(F.gelu(self.expand(self.norm(x)))))


@register
class ViT(nn.Module):
    """Pictures ``(B, T, 3, H, W)`` to tokens ``(B, T * (1 + h * w), width)``.

    The first token of each frame is the class token, which belongs to no place and gathers the whole picture;
    after it comes the grid of patches row by row, as of every image encoder. Equal to
    ``transformers.ViTModel(...).last_hidden_state``, and to torchvision's vit_b_16 before its head.

    Args:
        size: of the picture, in pixels: height and width, or one number for both. The network has a learned
            vector for each place, so it takes no other size.
        patch: height and width of a patch, in pixels.
        width: numbers a token, `out_dim`.
        layers, heads: blocks, and attention heads in each.
        hidden: width inside the perceptron of a block.
        dropout, attention_dropout: probabilities, on the additions and on the attention weights.
        eps: added to the variance in layer norm.

    The defaults are ViT-Ti/16 (Touvron et al. 2021, https://arxiv.org/abs/2012.12877) for 96 x 96 pixels,
    5.5 M parameters; ``ViT(224, width=768, heads=12, hidden=3072)`` is ViT-B/16, 85.8 M.
    """

    reads: ClassVar[str] = "image"
    source: ClassVar[str] = "Dosovitskiy et al. 2021"
    weights: str = "random"

    def __init__(
        self,
        size: int | Sequence[int] = 96,
        patch: int = 16,
        width: int = 192,
        layers: int = 12,
        heads: int = 3,
        hidden: int = 768,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1])
        if min(self.size) < patch or any(side % patch for side in self.size):
            raise ValueError(f"size is {size}; height and width must be multiples of patch {patch}")
        self.out_dim = width
        self.patches = nn.Conv2d(3, width, kernel_size=patch, stride=patch)  # one linear map of each patch
        places = (self.size[0] // patch) * (self.size[1] // patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + places, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            PreNormBlock(width, heads, hidden, dropout, attention_dropout, eps) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps=eps)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "norm" not in name:
                nn.init.trunc_normal_(parameter, std=0.02)

    def features(self, frames: Tensor) -> Tensor:
        """``(N, 3, H, W)`` to ``(N, 1 + h * w, width)``."""
        x = self.patches(frames).flatten(2).transpose(1, 2)  # (N, D, h, w) -> (N, h * w, D)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, images: Modality) -> Modality:
        """Values ``(B, T, 3, H, W)`` to tokens ``(B, T * (1 + h * w), width)``.

        Raises:
            ValueError: pictures of another size.
        """
        found = tuple(images.values.shape[3:])
        if images.values.dim() == 5 and found != self.size:
            raise ValueError(
                f"pictures have {found} pixels; this ViT was made for {self.size}: give that size to "
                f"ImageProcessor, or make a ViT with size={found}"
            )
        # to grid_tokens the tokens of a frame are a grid of one column
        return grid_tokens(lambda frames: self.features(frames).transpose(1, 2).unsqueeze(-1), images)

    @classmethod
    def from_reference(cls, module: Any) -> ViT:
        """A copy of a ``transformers.ViTModel`` or ``torchvision.models.VisionTransformer``, in its mode.

        Their pooler or head is left out.

        Raises:
            ValueError: a ViT of another kind (activation, no bias, other channels, convolutions in the stem).
        """
        c = getattr(module, "config", None)
        model = cls(**(_from_torchvision(module) if c is None else _from_transformers(c)))
        model.load_state_dict(our_weights(module.state_dict()))
        return model.train(module.training)

    @classmethod
    def from_pretrained(cls, name: str = "google/vit-base-patch16-224") -> ViT:
        """With weights from the hub, or from a folder that transformers wrote: 346 MB for ViT-B/16.

        Takes pictures as `mmbook.preprocess.ImageProcessor` makes them, standardised by ImageNet's mean and
        deviation. Where the weights were trained with another mean and deviation (google's with 0.5 and 0.5),
        the difference is put into the first layer, which is linear.
        """
        from transformers import ViTModel

        model = cls.from_reference(ViTModel.from_pretrained(name, add_pooling_layer=False))
        read_imagenet(model.patches, name)
        model.weights = "pretrained"
        return model.eval()


def _from_transformers(c: Any) -> dict[str, Any]:
    """The arguments of `ViT` for a ``transformers.ViTConfig``."""
    if c.hidden_act != "gelu" or not c.qkv_bias or c.num_channels != 3 or not isinstance(c.patch_size, int):
        raise ValueError(
            f"this ViTModel has hidden_act={c.hidden_act!r}, qkv_bias={c.qkv_bias}, "
            f"num_channels={c.num_channels}, patch_size={c.patch_size}; ours has 'gelu', biases, 3 channels "
            f"and square patches"
        )
    return options_of(c, size="image_size", patch="patch_size")


def _from_torchvision(module: Any) -> dict[str, Any]:
    """The arguments of `ViT` for a ``torchvision.models.VisionTransformer``."""
    if not isinstance(module.conv_proj, nn.Conv2d) or module.dropout:
        raise ValueError(
            f"this VisionTransformer has conv_proj {type(module.conv_proj).__name__} and dropout "
            f"{module.dropout}; ours has one Conv2d and no dropout inside the perceptron, so it must be 0"
        )
    block = module.encoder.layers[0]
    return {
        "size": module.image_size,
        "patch": module.patch_size,
        "width": module.hidden_dim,
        "layers": len(module.encoder.layers),
        "heads": block.num_heads,
        "hidden": module.mlp_dim,
        "attention_dropout": module.attention_dropout,
        "eps": block.ln_1.eps,
    }


# What transformers or torchvision calls a thing, and what it is called here.
_NAMES = {
    r"^embeddings\.cls_token": "class_token",
    r"^embeddings\.position_embeddings|^encoder\.pos_embedding": "positions",
    r"^embeddings\.patch_embeddings\.projection|^conv_proj": "patches",
    r"^layernorm\.|^encoder\.ln\.": "norm.",
    r"^layers\.|^encoder\.layers\.encoder_layer_": "blocks.",
    r"\.layernorm_before\.|\.ln_1\.": ".attention_norm.",
    r"\.layernorm_after\.|\.ln_2\.": ".norm.",
    r"\.self_attention\.in_proj_": ".attention.qkv.",
    r"\.attention\.o_proj\.|\.self_attention\.out_proj\.": ".attention.out.",
    r"\.mlp\.(fc1|0)\.": ".expand.",
    r"\.mlp\.(fc2|3)\.": ".contract.",
}


def our_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of either reference (weights or gradients) under our names."""
    left_out = r"^pooler\.|^heads\.|^embeddings\.mask_token$"
    return renamed(weights, _NAMES, left_out, qkv=("q_proj", "k_proj", "v_proj"))
