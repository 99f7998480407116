"""The features that chapters start from are those of the whole encoders on the posts, in order."""

import pytest
import torch

from mmbook import Modality, collate
from mmbook.book.datasets import Reviews
from mmbook.book.recipes import perceiver, pretrained_encoders, review_features
from mmbook.encoders import Frozen, Projected
from mmbook.models import Features


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
