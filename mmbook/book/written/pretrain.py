"""Learning from data without labels: guess what was hidden; find what belongs together.

Both are modules whose ``forward(**batch)`` returns ``.loss``, so any loop trains them
(``mmbook.Trainer(pretraining, rows, epochs=...)``, without a validation set). What you keep is the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from mmbook.heads import per_item
from mmbook.losses import info_nce
from mmbook.modality import Modality, group
from mmbook.models.multimodal import MultimodalOutput


class MaskedPretraining(nn.Module):
    """Hide a share of the tokens and reconstruct them from the rest, by mean squared error.

    The tokens are numbers: features, frames of a spectrogram, or the pixels of patches. A hidden token is
    replaced by a learned one, and the encoder and a linear layer guess its values; only hidden tokens count.
    The encoder must see other tokens than its own, or there is nothing to guess from. It gives a token for
    each token, from which that one is guessed; or, with `tokens`, a single one from which all are.

    Args:
        name: the modality.
        encoder: `Modality` to `Modality` with as many tokens, such as a `TokenTransformer`, or
            with one, such as `mmbook.encoders.Flattened`.
        dim: numbers a token, of the input. Standardise them, or the loudest number decides.
        share: of the real tokens of each sample that are hidden, in (0, 1); at least one is.
        tokens: of the input, for an encoder that gives one token a sample; None for the other kind.

    Raises:
        ValueError: a share outside (0, 1).

    Sources: Devlin et al. (2019), https://aclanthology.org/N19-1423, for words; Xie et al. (2022),
    *SimMIM*, https://arxiv.org/abs/2111.09886, for patches with a linear decoder, as here; He et al. (2022),
    *Masked Autoencoders*, https://arxiv.org/abs/2111.06377.
    """

    accepts_loss_kwargs = False  # transformers counts labels; see MultimodalModel

    def __init__(
        self, name: str, encoder: nn.Module, dim: int, share: float = 0.5, tokens: int | None = None
    ) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f"share is {share}; it must lie between 0 and 1, such as 0.5")
        width: Any = encoder.out_dim  # to a type checker every attribute of a module is a tensor or a module
        self.name, self.encoder, self.share = name, encoder, share
        self.token = nn.Parameter(torch.zeros(dim))
        self.decoder = nn.Linear(width, dim * (tokens or 1))

    def forward(
        self, labels: Tensor | None = None, num_items_in_batch: int | Tensor | None = None, **batch: Any
    ) -> MultimodalOutput:
        """Batch ``{name: (B, T, dim), name_mask}``; `labels` are ignored. Logits are the guesses.

        `num_items_in_batch`: as in `MultimodalModel.forward`.
        """
        modality = group(batch, [self.name])[self.name].cleaned()
        guesses, hidden = self.guess(modality)
        total = (guesses - modality.values)[hidden].square().sum()
        items = self.num_items(**batch) if num_items_in_batch is None else num_items_in_batch
        return MultimodalOutput(loss=per_item(total, items), logits=guesses)

    def num_items(self, labels: Tensor | None = None, **batch: Any) -> Tensor:
        """What the loss is a mean over: the numbers of all hidden tokens."""
        modality = group(batch, [self.name])[self.name]
        return self._hidden_of(modality.mask).sum() * modality.values.shape[-1]

    def guess(self, modality: Modality) -> tuple[Tensor, Tensor]:
        """Guesses of all tokens ``(B, T, dim)``, and which were hidden ``(B, T)`` bool."""
        values, mask = modality.cleaned()
        hidden = self.hide(mask)
        seen = self.encoder(Modality(torch.where(hidden[..., None], self.token, values), mask)).values
        return self.decoder(seen).reshape(
            values.shape
        ), hidden  # (B, T, width) or (B, 1, width) -> (B, T, dim)

    def hide(self, mask: Tensor) -> Tensor:
        """Which tokens to hide: in each row the same share of its real ones, at random; ``(B, T)`` bool."""
        order = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, 2.0).argsort(dim=1)
        place = order.argsort(dim=1)  # of each token in the draw; the real ones come first
        return (place < self._hidden_of(mask)) & mask

    def _hidden_of(self, mask: Tensor) -> Tensor:
        """How many tokens of each row are hidden: ``(B, 1)``."""
        real = mask.sum(dim=1, keepdim=True)
        return (self.share * real).round().clamp(min=1).minimum(real)


class ContrastivePretraining(nn.Module):
    """Bring together what comes from one sample, in pairs of modalities: `mmbook.losses.info_nce`.

    Each encoder's mean token is projected to `width` numbers, in which the cosine of a pair is compared with
    those of the B - 1 wrong partners in the batch; with more than two modalities, the mean over all pairs of
    modalities. What only one modality knows does not help to find its partner, and may be forgotten.

    Args:
        encoders: name -> encoder, at least two.
        width: of the space in which they meet; the projections are thrown away afterwards.
        temperature: at the start; it is learned.

    Raises:
        ValueError: fewer than two encoders.

    Sources: van den Oord, Li and Vinyals (2018), https://arxiv.org/abs/1807.03748; Radford et al. (2021),
    *CLIP*, https://arxiv.org/abs/2103.00020.
    """

    accepts_loss_kwargs = False  # transformers counts labels; see MultimodalModel

    def __init__(self, encoders: Mapping[str, nn.Module], width: int = 32, temperature: float = 0.1) -> None:
        super().__init__()
        if len(encoders) < 2:
            raise ValueError(f"contrast needs two modalities; encoders are given for {list(encoders)}")
        self.encoders = nn.ModuleDict(dict(encoders))
        dims: dict[str, Any] = {name: encoder.out_dim for name, encoder in encoders.items()}
        self.projections = nn.ModuleDict({name: nn.Linear(dim, width) for name, dim in dims.items()})
        self.log_temperature = nn.Parameter(torch.tensor(temperature).log())

    def forward(
        self, labels: Tensor | None = None, num_items_in_batch: int | Tensor | None = None, **batch: Any
    ) -> MultimodalOutput:
        """A flat batch; `labels` are ignored. A pair counts where a sample has both modalities.

        The embeddings, name -> ``(B, width)`` and name_mask -> ``(B,)``, are what `contrast` compares.
        Nothing of the loss is a sample's own: that of a part, with `num_items_in_batch`, is zero.
        """
        embeddings: dict[str, Tensor] = {}
        for name, modality in group(batch, list(self.encoders)).items():
            encoded = self.encoders[name](modality)
            embeddings[name] = self.projections[name](encoded.pooled())  # (B, width)
            embeddings[f"{name}_mask"] = encoded.mask.any(dim=1)
        if num_items_in_batch is None:
            return MultimodalOutput(loss=self.contrast(embeddings), embeddings=embeddings)
        own = 0 * torch.stack([v.sum() for name, v in embeddings.items() if name in self.encoders]).sum()
        return MultimodalOutput(loss=own, embeddings=embeddings)

    def num_items(self, labels: Tensor | None = None, **batch: Any) -> int:
        """One loss, whatever the batch: `contrast` is over all of it."""
        return 1

    def contrast(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        """The loss of a batch that is embedded already, be it on several devices or part by part.

        Args:
            embeddings: name -> ``(B, width)``, and name_mask -> ``(B,)``, which samples have the modality.
        """
        names = [name for name in self.encoders if name in embeddings]
        temperature = self.log_temperature.exp().clamp(min=0.01)  # CLIP's limit
        # nothing to tell apart in a batch with fewer than two pairs: a zero through which gradients flow
        losses = [sum(embeddings[name].sum() for name in names) * 0 + temperature * 0]
        for a, b in combinations(names, 2):
            both = embeddings[f"{a}_mask"] & embeddings[f"{b}_mask"]
            if both.sum() > 1:
                losses.append(info_nce(embeddings[a][both], embeddings[b][both], temperature))
        return torch.stack(losses).sum() / max(1, len(losses) - 1)
