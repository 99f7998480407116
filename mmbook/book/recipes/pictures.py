"""Generators that draw a handwritten digit from a spoken or written one: trained once and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from torch import Tensor
from torch.nn import functional as F

from mmbook.book.datasets.digits import MEAN, STD, handwritten
from mmbook.book.kept import Recipe
from mmbook.book.recipes.digit_requests import paired_up, spoken, written
from mmbook.book.written.drawing import DrawingNet, PictureNet
from mmbook.book.written.fit_gan import fit_gan
from mmbook.book.written.gan import Critic, Generator
from mmbook.book.written.mode_coverage import mode_coverage
from mmbook.encoders import Flattened, Projected, SmallCNN
from mmbook.fusion import build_fusion
from mmbook.generate import VAE, Condition
from mmbook.heads import Classification
from mmbook.modality import Modality
from mmbook.models import MultimodalModel
from mmbook.scale import scale
from mmbook.train import Trainer

PICTURES = 20_000  # of MNIST's training file the generators see the first, and the judge as many others
HEARD = {"laptop": 3000, "gpu": 7200}  # recordings of the training voices that the generators hear
STEPS, EPOCHS = {"laptop": 1200, "gpu": 30_000}, {"laptop": 4, "gpu": 40}  # of the GAN; of the VAE
LATENT, WIDTH, BATCH = 32, 64, 64
# With as many latent numbers as the GAN and beta 1, z carried the digit too, and what is given was ignored.
VAE_LATENT, BETA = 8, 8.0


class DigitPictures(NamedTuple):
    """What draws, what judges, and what they were asked.

    Attributes:
        vae, gan: draw ``(B, 1, 32, 32)``, given "audio" or "text" or both.
        judge: tells the digit on a picture (see `frames`); it was trained on real pictures that neither
            generator has seen.
        centres: ``(100, 64)``, ten modes a digit among the judge's features of its own pictures.
        history: of the GAN, as `mmbook.book.written.fit_gan` returns it, with the modes that it covers.
        spoken: of the test recordings, in the order of ``Digits("test", ("audio",))``: "features" and "heard"
            of the listener, and the digits, "labels"; see `mmbook.book.recipes.digit_requests.spoken`.
        written: of sentences that neither generator was trained on: "features" of MiniLM, and "labels".
    """

    vae: VAE
    gan: Generator
    judge: MultimodalModel
    centres: Tensor
    history: pd.DataFrame
    spoken: dict[str, Tensor]
    written: dict[str, Tensor]


def digit_pictures() -> DigitPictures:
    """A conditional VAE and a conditional GAN on MNIST at 32 x 32, trained once and kept.

    Both see the first 20,000 pictures, each beside a recording of the same digit by a made training voice, a
    sentence that asks for it, or both, paired by the digit alone. The ears are those of `digit_listener` and
    the reader is MiniLM, both frozen.
    """
    state = RECIPE.tensors()
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        part, _, key = name.partition("/")
        parts.setdefault(part, {})[key] = value
    dims = {name: parts[name]["features"].shape[1] for name in ("audio", "text")}
    models = {"vae": vae(dims), "gan": gan(dims), "judge": judge()}
    for name, model in models.items():
        model.load_state_dict(parts[name])
        model.eval().requires_grad_(False)
    return DigitPictures(
        **models,  # type: ignore[arg-type]
        centres=parts["modes"]["centres"],
        history=pd.DataFrame({name: value.numpy() for name, value in parts["history"].items()}),
        spoken=parts["audio"],
        written=parts["text"],
    )


def pictures(split: str) -> tuple[Tensor, NDArray[np.int64]]:
    """MNIST as ``(N, 1, 32, 32)``, paper 0 and ink 1, a margin of two pixels added; and the digits."""
    ink, digits = handwritten(split)
    return F.pad(torch.from_numpy(ink)[:, None].float() / 255, (2, 2, 2, 2)), digits


def frames(ink: Tensor) -> Tensor:
    """Pictures ``(B, 1, 32, 32)`` as the judge takes them: ``(B, 1, 3, 32, 32)``, standardised."""
    return ((ink.clamp(0, 1) - MEAN) / STD).expand(-1, 3, -1, -1)[:, None]


@torch.no_grad()
def judged(judge: MultimodalModel, ink: Tensor) -> tuple[Tensor, Tensor]:
    """The judge's features ``(B, 64)`` and logits ``(B, 10)`` of pictures ``(B, 1, 32, 32)``."""
    parts = []
    for some in ink.split(500):
        seen = Modality(frames(some), torch.ones(len(some), 1, dtype=torch.bool))
        features = judge.encoders["image"](seen)
        parts.append((features.pooled(), judge.head(judge.fusion({"image": features})).logits))
    features, logits = (torch.cat(part) for part in zip(*parts, strict=True))
    return features, logits


def judge() -> MultimodalModel:
    """The untrained judge."""
    encoder = Projected(Flattened(SmallCNN((16, 32, 32)), tokens=16), WIDTH)
    return MultimodalModel(
        {"image": encoder}, build_fusion("concat", {"image": WIDTH}, WIDTH), Classification(WIDTH, 10, WIDTH)
    )


def vae(dims: Mapping[str, int]) -> VAE:
    """The untrained VAE: name -> width of what it is given."""
    encoder, decoder = PictureNet(2 * VAE_LATENT, WIDTH), DrawingNet(VAE_LATENT, WIDTH)
    return VAE(encoder, decoder, VAE_LATENT, "image", Condition(dims, WIDTH), beta=BETA, noise=0.25)


def gan(dims: Mapping[str, int]) -> Generator:
    """The untrained generator."""
    return Generator(DrawingNet(LATENT, WIDTH), LATENT, Condition(dims, WIDTH))


def critic(dims: Mapping[str, int]) -> Critic:
    """The untrained critic."""
    return Critic(PictureNet(WIDTH, channels=(8, 16, 32)), Condition(dims, WIDTH))


def _make() -> dict[str, Tensor]:
    torch.manual_seed(0)
    ink, digits = pictures("train")
    requests = {"audio": spoken("train", HEARD[scale()]), "text": written("train")}
    test = {"audio": spoken("test"), "text": written("test")}
    given = paired_up(digits[:PICTURES], requests)
    dims = {name: m.values.shape[-1] for name, m in given.items()}

    sees, truth = judge(), torch.from_numpy(digits)
    others = range(PICTURES, 2 * PICTURES)

    def shown(rows: Sequence[int]) -> dict[str, Tensor]:
        return {"image": frames(ink[rows]), "labels": truth[rows]}

    Trainer(sees, others, collate=shown, epochs=1, batch_size=64, lr=3e-3, seed=0, progress=False).fit()  # type: ignore[arg-type]
    features, _ = judged(sees.eval(), ink[PICTURES : 2 * PICTURES])
    centres = np.concatenate(
        [
            kmeans2(features[digits[PICTURES : 2 * PICTURES] == d].numpy(), 10, minit="++", seed=0)[0]
            for d in range(10)
        ]
    )

    density = vae(dims)

    def beside(rows: Sequence[int]) -> dict[str, Tensor]:
        batch = {"image": ink[rows][:, None]}
        for name, (values, mask) in given.items():
            batch |= {name: values[rows], f"{name}_mask": mask[rows]}
        return batch

    # the rows are numbers, looked up a batch at a time: putting single rows together would take as long again
    Trainer(
        density,
        range(PICTURES),  # type: ignore[arg-type]
        collate=beside,
        epochs=EPOCHS[scale()],
        batch_size=128,
        lr=3e-3,
        seed=0,
        progress=False,
    ).fit()

    draws = gan(dims)
    asked = test["audio"]["features"][:, None]  # (800, 1, D)
    speech = {"audio": Modality(asked, torch.ones(asked.shape[:2], dtype=torch.bool))}
    real = judged(sees, pictures("valid")[0][: 2 * len(asked)])[0]

    def watch(generator: Generator) -> dict[str, float]:
        drawn = generator.sample(speech, generator=torch.Generator().manual_seed(0))
        seen, answers = judged(sees, drawn)
        found = mode_coverage(real, seen, centres)
        right = (answers.argmax(dim=1) == test["audio"]["labels"]).float().mean()
        return {"covered": found.covered, "covered_real": found.floor, "right_digit": float(right)}

    history = fit_gan(
        draws,
        critic(dims),
        ink[:PICTURES],
        given,
        steps=STEPS[scale()],
        batch_size=BATCH,
        lr=2e-3,
        seed=0,
        penalty=0.02,
        penalty_every=4,
        average=0.99,
        every=STEPS[scale()] // 12,
        watch=watch,
    )
    state = {"modes/centres": torch.from_numpy(centres)}
    state |= {f"history/{name}": torch.tensor(history[name].to_numpy()) for name in history}
    for part, model in (("vae", density), ("gan", draws), ("judge", sees)):
        state |= {f"{part}/{key}": value for key, value in model.state_dict().items()}
    state |= {f"{part}/{key}": value for part, data in test.items() for key, value in data.items()}
    return {name: value.contiguous() for name, value in state.items()}


def _scores(state: dict[str, Tensor]) -> dict[str, float]:
    sees = judge()
    sees.load_state_dict({key[6:]: value for key, value in state.items() if key.startswith("judge/")})
    ink, digits = pictures("test")
    _, logits = judged(sees.eval(), ink[:2000])
    return {
        "accuracy of the judge": (logits.argmax(dim=1).numpy() == digits[:2000]).mean().item(),
        "right digit, GAN": state["history/right_digit"][-1].item(),
        "modes covered, GAN": state["history/covered"][-1].item(),
    }


RECIPE = Recipe("digit_pictures", _make, _scores)
