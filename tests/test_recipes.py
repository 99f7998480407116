"""Recipes: what is kept is of the present code, one is made anew, and features are those of the encoders."""

import pytest
import torch

from mmbook import Modality, collate
from mmbook.book import kept
from mmbook.book.datasets import Reviews
from mmbook.book.recipes import declared, perceiver, pretrained_encoders, review_features
from mmbook.encoders import Frozen, Projected
from mmbook.models import Features

RECIPES = declared()


@pytest.mark.parametrize("name", RECIPES)
def test_the_package_has_a_result_of_the_present_code(name):
    """Or a page would wait. To mend: ``python -m mmbook.book.recipes --renew``, which says what to make."""
    recipe = RECIPES[name]
    assert recipe.record, "it was never made"
    assert kept.changes(recipe.record["made_by"], recipe.made_by) == ""
    assert recipe.kept_file.is_file() == recipe.keep
    for score, (low, high) in recipe.within.items():
        assert low <= recipe.record["scores"][score] <= high


def test_what_is_kept_is_small():
    sizes = [file.stat().st_size for file in kept.RESULTS.glob("*.safetensors")]
    assert max(sizes) <= kept.LARGEST and sum(sizes) <= 40_000_000


def test_what_is_not_kept_is_made_in_little_time():
    """As it was recorded, on one core: a page may take as long."""
    for recipe in RECIPES.values():
        if not recipe.keep:
            assert recipe.record["seconds"] < 60, recipe.name


def test_a_quick_recipe_made_anew_is_what_is_kept():
    """A projection trained on the features of a frozen network: the same answers, up to rounding."""
    recipe = RECIPES["perceiver_image"]
    with torch.random.fork_rng():
        made = recipe.make()
    recipe.scores(dict(made))  # an error where one is outside its interval
    for name, weights in recipe.tensors().items():
        assert made[name].shape == weights.shape
    images = Reviews.perception("image", "test")
    some = collate([images[i] for i in range(0, len(images), 4)])
    seen = {key: some[key] for key in ("image", "image_mask")}
    model = perceiver("image")
    with torch.no_grad():
        before = model(**seen).logits
        model.load_state_dict(made, strict=False)  # without the frozen network
        after = model(**seen).logits
    assert (before.argmax(dim=1) == after.argmax(dim=1)).double().mean() > 0.95


def test_features_are_what_the_encoders_give_for_the_raw_posts():
    features, encoders = review_features(), pretrained_encoders()
    posts = Reviews("valid")
    some = [3, 77, 401]
    batch = collate([posts[i] for i in some])
    for name, encoder in encoders.items():
        with torch.no_grad():
            tokens = encoder(Modality(batch[name], batch[f"{name}_mask"]))
        torch.testing.assert_close(tokens.values, features["valid"].arrays[name][some], rtol=1e-3, atol=1e-3)
    for split, data in features.items():
        assert data.labels.tolist() == Reviews(split).labels.tolist()


def test_nothing_in_the_encoders_is_left_to_train():
    for encoder in pretrained_encoders().values():
        assert isinstance(encoder, Frozen) and not any(p.requires_grad for p in encoder.parameters())


@pytest.mark.parametrize("name", ["text", "image", "audio"])
def test_a_perceiver_hears_more_than_chance_and_less_than_all(name):
    posts, features, model = Reviews("test"), review_features()["test"], perceiver(name)
    vectors = features.arrays[name]
    with torch.no_grad():
        fused = model.fusion({name: Modality(vectors, torch.ones(vectors.shape[:2], dtype=torch.bool))})
        guess = model.head(fused).logits.argmax(dim=1).numpy()
    right = (guess == posts.feelings[:, ("text", "image", "audio").index(name)]).mean()
    assert 0.6 < right < 0.99


def test_unknown_modality_lists_the_known():
    with pytest.raises(ValueError, match="'smell'.*text, image, audio"):
        perceiver("smell")


def test_a_projection_takes_only_an_encoder_of_its_width():
    projected = Projected(Features(5), 3)
    projected.replace(Features(5))
    with pytest.raises(ValueError, match="out_dim 6.*made for 5"):
        projected.replace(Features(6))
