"""Saliency: complete, exact where the model is linear, blind to padding, and it fails when the weights do."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from mmbook import MultimodalModel, collate
from mmbook.book.show import overlay, spectrogram_overlay, words_html
from mmbook.book.written.encoder_costs import flops
from mmbook.book.written.sanity import randomised, sanity_check
from mmbook.encoders import GRU, Bert, MelCNN, SmallCNN, ViT, Word2Vec
from mmbook.explain import (
    IncompleteMap,
    attention_weights,
    by_pixel,
    by_token,
    gradient_x_input,
    integrated_gradients,
    rollout,
    smooth_grad,
)
from mmbook.fusion import build_fusion
from mmbook.heads import Classification
from mmbook.modality import Modality
from mmbook.models.features import Features

WORDS = [f"w{i}" for i in range(20)]
ENCODERS = {
    "text": lambda: Bert(40, width=16, layers=2, heads=2, hidden=32, max_positions=12),
    "words": lambda: Word2Vec(WORDS, width=8),
    "image": lambda: SmallCNN((8, 16), groups=4),
    "audio": lambda: MelCNN((4, 8), out_dim=8),
    "features": lambda: Features(5),
}


def rows(name, count=4):
    g = torch.Generator().manual_seed(0)
    make = {
        "text": lambda i: torch.randint(1, 40, (4 + i,), generator=g),
        "words": lambda i: torch.randint(0, 20, (3 + i,), generator=g),
        "image": lambda i: torch.randn(1, 3, 16, 16, generator=g),
        "audio": lambda i: 0.1 * torch.randn(2000 + 400 * i, generator=g),
        "features": lambda i: torch.randn(2 + i, 5, generator=g),
    }
    other = torch.randn(count, 1, 3, generator=g)
    return [{name: make[name](i), "other": other[i], "labels": i % 3} for i in range(count)]


def model(name, fusion="concat"):
    torch.manual_seed(0)
    encoders = {name: ENCODERS[name](), "other": Features(3)}
    dims = {key: encoder.out_dim for key, encoder in encoders.items()}
    whole = MultimodalModel(encoders, build_fusion(fusion, dims, 8), Classification(8, 3, hidden=8))
    for parameter in whole.parameters():  # as large as after training, or all is nearly linear
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.5 / parameter.shape[-1] ** 0.5 + 0.1)
    return whole.train()


@pytest.mark.parametrize("name", ENCODERS)
def test_integrated_gradients_are_complete(name):
    """They sum to the logit at the input minus the logit at the baseline."""
    whole, batch = model(name), collate(rows(name))
    layer = whole.encoders["audio"].mel if name == "audio" else None
    baseline = torch.randn(batch[name].shape) if name == "image" else 0.0
    ours = integrated_gradients(whole, batch, name, 1, baseline=baseline, steps=150, layer=layer)
    assert whole.training, "the mode is given back"
    whole.eval()
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    with torch.no_grad():
        there = whole(**inputs).logits[:, 1]
        nowhere = at_baseline(whole, inputs, name, baseline)[:, 1]
    assert (there - nowhere).abs().max() > 0.05
    torch.testing.assert_close(ours.flatten(1).sum(1), there - nowhere, atol=0.02, rtol=0.03)


def test_each_module_keeps_the_mode_that_it_had():
    """A part that was put into evaluation mode by hand stays there, also after an error."""
    whole, batch = model("text"), collate(rows("text"))
    bert = whole.encoders["text"]
    bert.blocks[0].eval()
    before = [module.training for module in whole.modules()]
    gradient_x_input(whole, batch, "text", 1)
    attention_weights(bert, Modality(batch["text"], batch["text_mask"]))
    flops(bert, batch["text"])
    with pytest.raises(ValueError, match="did not run"):
        gradient_x_input(whole, batch, "text", 1, layer=nn.Linear(2, 2))
    assert [module.training for module in whole.modules()] == before and True in before and False in before


def test_a_path_that_jumps_is_reported():
    """Group norm undoes the scale of a picture, so next to a picture of zeros everything changes at once."""
    whole, batch = model("image"), collate(rows("image"))
    with pytest.warns(IncompleteMap, match="another baseline"):
        integrated_gradients(whole, batch, "image", 1, steps=16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        integrated_gradients(whole, batch, "image", 1, steps=64, baseline=torch.randn(batch["image"].shape))


def at_baseline(whole, inputs, name, baseline):
    """Logits with zeros in the place of the values, of the word vectors, or of the mel frames."""
    if name in ("image", "features"):
        return whole(**inputs | {name: torch.zeros_like(inputs[name]) + baseline}).logits
    encoder = whole.encoders[name]
    layer = {"text": "words", "words": "table", "audio": "mel"}[name]
    zero = lambda _, __, out: Modality(out[0] * 0, out[1]) if isinstance(out, tuple) else out * 0  # noqa: E731
    handle = getattr(encoder, layer).register_forward_hook(zero)
    try:
        return whole(**inputs).logits
    finally:
        handle.remove()


@pytest.mark.filterwarnings("ignore::mmbook.explain.saliency.IncompleteMap")
@pytest.mark.parametrize("explain", [gradient_x_input, integrated_gradients])
@pytest.mark.parametrize("name", ["text", "words", "audio", "features"])
def test_padding_is_credited_with_nothing_and_changes_nothing(name, explain):
    whole, some = model(name), rows(name)
    padded = explain(whole, collate(some), name, 0)
    for i, row in enumerate(some):
        alone = explain(whole, collate([row]), name, 0)
        real = alone.shape[1]
        torch.testing.assert_close(padded[i, :real], alone[0], atol=1e-4, rtol=1e-3)
        assert not padded[i, real:].any()


@pytest.mark.parametrize("name", ENCODERS)
def test_smoothing_is_finite_repeats_and_leaves_padding_alone(name):
    whole, batch = model(name), collate(rows(name))
    found = smooth_grad(whole, batch, name, 0, samples=3)
    assert torch.isfinite(found).all() and not found[~batch[f"{name}_mask"]].any()
    assert torch.equal(found, smooth_grad(whole, batch, name, 0, samples=3))
    assert not torch.equal(found, smooth_grad(whole, batch, name, 0, samples=3, seed=1))
    still = smooth_grad(whole, batch, name, 0, samples=2, noise=0.0)
    torch.testing.assert_close(still, gradient_x_input(whole, batch, name, 0))


class Linear(nn.Module):
    """A model of one modality whose logits are a weighted sum; stands in for a whole one."""

    def __init__(self):
        super().__init__()
        self.encoders = nn.ModuleDict({"x": Features(4)})
        self.weight = nn.Parameter(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, x, x_mask):
        return type(
            "Output", (), {"logits": self.encoders["x"](Modality(x, x_mask)).values.sum(1) @ self.weight.T}
        )


@pytest.mark.parametrize("explain", [gradient_x_input, integrated_gradients, smooth_grad])
def test_of_a_linear_model_every_method_gives_weight_times_input(explain):
    line, x = Linear(), torch.randn(5, 2, 4, generator=torch.Generator().manual_seed(1))
    batch = {"x": x}  # without a mask all is real
    for target in (2, torch.tensor([0, 1, 2, 1, 0])):
        weights = line.weight[torch.as_tensor(target).expand(5)][:, None]
        torch.testing.assert_close(explain(line, batch, "x", target), (x * weights).detach())
    predicted = line(x, torch.ones(5, 2, dtype=torch.bool)).logits.argmax(1)
    torch.testing.assert_close(explain(line, batch, "x"), explain(line, batch, "x", predicted))


def test_a_baseline_may_be_given():
    line, x = Linear(), torch.randn(5, 2, 4)
    found = integrated_gradients(line, {"x": x}, "x", 0, baseline=1.5)
    torch.testing.assert_close(found, ((x - 1.5) * line.weight[0]).detach(), atol=1e-5, rtol=1e-5)


def test_no_gradient_stays_behind_and_no_hook():
    whole, batch = model("text"), collate(rows("text"))
    before = whole.eval()(**{k: v for k, v in batch.items() if k != "labels"}).logits
    integrated_gradients(whole, batch, "text", steps=2)
    assert all(p.grad is None for p in whole.parameters())
    assert not any(m._forward_hooks for m in whole.modules())
    after = whole(**{k: v for k, v in batch.items() if k != "labels"}).logits
    assert torch.equal(before, after)


def test_sums_by_token_and_by_pixel():
    found = torch.randn(2, 3, 3, 4, 5)
    assert by_pixel(found).shape == (2, 3, 4, 5) and by_token(found).shape == (2, 3)
    assert torch.allclose(by_pixel(found).sum((2, 3)), by_token(found), atol=1e-5)
    assert by_token(found[:, :, 0, 0, 0]).shape == (2, 3)


def test_what_cannot_be_explained_is_refused():
    whole, batch = model("text"), collate(rows("text"))
    for options, said in [
        ({"name": "video"}, "'video'.*text, other"),
        ({"name": "text", "target": 3}, "target is 3.*0 to 2"),
        ({"name": "other", "layer": whole.encoders["text"].blocks[0].norm.__class__(3)}, "did not run"),
    ]:
        with pytest.raises(ValueError, match=said):
            gradient_x_input(whole, batch, **options)
    with pytest.raises(ValueError, match="no nn.Embedding"):
        gradient_x_input(model("features"), {"features": torch.ones(2, 3, dtype=torch.long)}, "features")
    with pytest.raises(ValueError, match="steps is 0"):
        integrated_gradients(whole, batch, "text", steps=0)
    with pytest.raises(ValueError, match="samples is 0"):
        smooth_grad(whole, batch, "text", samples=0)


def trained():
    """Class 1 where the third of eight numbers is large, whatever the others: learned in a few steps."""
    torch.manual_seed(0)
    encoders = {"features": Features(8)}
    whole = MultimodalModel(
        encoders, build_fusion("concat", {"features": 8}, 16), Classification(16, 2, hidden=16)
    )
    x = torch.randn(400, 1, 8)
    labels = (x[:, 0, 2] > 0).long()
    optimizer = torch.optim.Adam(whole.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        whole(features=x, labels=labels).loss.backward()
        optimizer.step()
    return whole, {"features": x[:40]}


@pytest.mark.filterwarnings("ignore::mmbook.explain.saliency.IncompleteMap")
def test_a_trained_model_is_explained_by_what_decides():
    whole, batch = trained()
    for explain in (gradient_x_input, integrated_gradients, smooth_grad):
        share = explain(whole, batch, "features", 1).abs()[:, 0].mean(0)
        assert share.argmax() == 2 and share[2] > 1.5 * share.sort().values[-2]


def test_the_sanity_check_tells_a_map_of_the_weights_from_one_of_the_input():
    whole, batch = trained()

    def gradient(model, batch, name, target):
        """The gradient alone: it has nothing but the weights."""
        return gradient_x_input(model, batch, name, target) / batch[name]

    def edges(model, batch, name, target):
        """What looks like a map and is the input."""
        return batch[name]

    honest = sanity_check(gradient, whole, batch, "features", seeds=5, target=1)
    fake = sanity_check(edges, whole, batch, "features", seeds=5, target=1)
    assert honest.passed and honest.correlations.shape == (5, 40)
    assert not fake.passed and fake.mean.mean == pytest.approx(1) and "hardly" in str(fake)
    times_input = sanity_check(gradient_x_input, whole, batch, "features", seeds=5, target=1)
    assert times_input.mean.mean > honest.mean.mean, "the input in the product stays, whatever the weights"
    with pytest.raises(ValueError, match="same size everywhere"):
        sanity_check(lambda m, b, n: torch.ones(40, 1, 8), whole, batch, "features")


def test_randomised_keeps_each_tensors_numbers_and_the_original():
    whole, _ = trained()
    before = [p.clone() for p in whole.parameters()]
    other = randomised(whole, 1)
    pairs = list(zip(whole.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(p, q) for p, q in zip(before, whole.parameters(), strict=True))
    assert all(torch.equal(p.flatten().sort().values, q.flatten().sort().values) for p, q in pairs)
    assert any(not torch.equal(p, q) for p, q in pairs)


def test_attention_weights_equal_those_of_transformers():
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=16,
        attn_implementation="eager",
    )
    torch.manual_seed(0)
    reference = BertModel(config, add_pooling_layer=False).eval()
    for parameter in reference.parameters():
        nn.init.normal_(parameter, std=0.3)
    ids, mask = torch.randint(1, 40, (3, 7)), torch.arange(7) < torch.tensor([7, 4, 2])[:, None]
    theirs = reference(ids, attention_mask=mask.long(), output_attentions=True).attentions
    ours = attention_weights(Bert.from_reference(reference), Modality(ids, mask))
    assert len(ours) == len(theirs) == 3
    for a, b in zip(ours, theirs, strict=True):
        a, b = (w.transpose(1, 2)[mask] for w in (a, b))  # of real tokens; of padding nothing is asked
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_rollout_is_a_distribution_over_what_is_real():
    encoder = ENCODERS["text"]()
    batch = collate(rows("text"))
    mask = batch["text_mask"]
    found = rollout(attention_weights(encoder, Modality(batch["text"], mask)))
    assert encoder.training and found.shape == (4, 7, 7)
    torch.testing.assert_close(found.sum(2), torch.ones(4, 7))
    assert all(not found[i, mask[i]][:, ~mask[i]].any() for i in range(4)), "no real token comes from padding"
    uniform = [torch.full((1, 2, 5, 5), 0.2)] * 2
    expected = torch.matrix_power(0.5 * torch.eye(5) + 0.1, 2)
    torch.testing.assert_close(rollout(uniform)[0], expected)
    pictures = Modality(torch.randn(2, 3, 3, 16, 16), torch.ones(2, 3, dtype=torch.bool))
    vit = ViT(16, patch=8, width=16, layers=2, heads=2, hidden=32)
    assert rollout(attention_weights(vit, pictures)).shape == (6, 5, 5), "a row for each frame, a class token"


def test_encoders_without_attention_say_so():
    with pytest.raises(ValueError, match="GRU has no MultiHeadAttention"):
        attention_weights(GRU(8), Modality(torch.randn(2, 4000), torch.ones(2, 4000, dtype=torch.bool)))
    with pytest.raises(ValueError, match="no weights"):
        rollout([])


def test_plots_put_the_map_where_it_belongs():
    found = np.zeros((6, 8))
    found[1, 2], found[4, 5] = 3.0, -1.0
    ax = overlay(np.ones((6, 8, 3)), found)
    grey, layer = ax.images
    assert layer.get_array().argmax() == 1 * 8 + 2 and layer.get_clim() == (-3, 3)
    assert layer.get_alpha()[1, 2] == pytest.approx(0.85) and layer.get_alpha()[0, 0] == 0
    assert grey.get_array().shape == (6, 8)
    mel = spectrogram_overlay(torch.zeros(9, 4), torch.arange(9.0))
    assert mel.images[1].get_array().shape == (4, 9) and mel.images[0].origin == "lower"
    assert [text.get_text() for text in ax.figure.axes[-1].get_yticklabels()] == ["against", "0", "for"]
    for bad in (np.zeros((5, 8)), np.full((6, 8), np.nan)):
        with pytest.raises(ValueError, match=r"\(5, 8\)|NaN"):
            overlay(np.ones((6, 8, 3)), bad)
    with pytest.raises(ValueError, match=r"\(T, F\)"):
        spectrogram_overlay(np.zeros((9, 4)), np.zeros((4, 9)))
    plt.close("all")


def test_words_are_legible_without_colour_and_without_eyes():
    page = words_html(["a", "<dull>", "great", "film"], torch.tensor([0.1, -2.0, 4.0, 0.0])).data
    assert "&lt;dull&gt;" in page and "<dull>" not in page
    spoken = page.split('aria-label="')[1].split('"')[0]
    assert spoken == "a &lt;dull&gt; great film. Strongest words for: great, a; against: &lt;dull&gt;"
    assert "3px solid" in page and "2px dashed" in page and "color:" not in page.replace("currentColor", "")
    with pytest.raises(ValueError, match="3 words"):
        words_html(["a", "b", "c"], [1.0, 2.0])


def relative_luminance(rgb):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("value", [1.0, -1.0])
@pytest.mark.parametrize(
    ("page", "text"), [((1, 1, 1), (0.13, 0.13, 0.13)), ((0.08, 0.08, 0.08), (0.85, 0.85, 0.85))]
)
def test_the_strongest_word_has_enough_contrast_in_light_and_dark(value, page, text):
    """At least 4.5 to 1, as the accessibility guidelines (WCAG 2.1) ask."""
    colour = words_html(["x"], [value]).data.split("rgba(")[1].split(")")[0].split(",")
    alpha = float(colour[3])
    ground = [alpha * int(c) / 255 + (1 - alpha) * p for c, p in zip(colour[:3], page, strict=True)]
    light, dark = sorted((relative_luminance(ground), relative_luminance(text)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 4.5
