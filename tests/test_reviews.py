"""The spoken reviews: splits share nothing, counts follow the table, draws depend on the seed alone."""

import base64
import hashlib
import io
import os
import subprocess
import sys
import wave
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchaudio import functional
from torchaudio.transforms import MelSpectrogram

import mmbook
from mmbook import assets
from mmbook.book.datasets import Reviews, joint, speech
from mmbook.book.datasets.emoji_drawings import STYLES, draw, emoji
from mmbook.book.datasets.reviews import SIZES
from mmbook.book.datasets.sentences import readable, sentences
from mmbook.book.datasets.splits import SPLITS

PLAIN = {
    "text": lambda sentence: torch.tensor(list(sentence.encode())),
    "image": lambda picture: torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255,
    "audio": lambda sound: torch.from_numpy(sound[0]),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The tensors here are so small that a second thread only waits for the first."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def posts() -> dict[str, Reviews]:
    return {split: Reviews(split, processors=PLAIN) for split in SPLITS}


@pytest.mark.parametrize("modality", joint.MODALITIES)
def test_splits_share_no_sentence_no_emoji_and_no_voice_at_any_seed(modality):
    used = {split: set() for split in SPLITS}
    for split in SPLITS:
        for seed in (0, 1, 2):
            used[split] |= set(Reviews(split, seed=seed).clusters[modality].tolist())
        used[split] |= set(Reviews.perception(modality, split, PLAIN).clusters.tolist())
    assert (
        not used["train"] & used["valid"]
        and not used["train"] & used["test"]
        and not used["valid"] & used["test"]
    )
    assert all(used.values())


def test_splits_share_no_words_and_no_pixels(posts):
    words = {s: {"".join(filter(str.isalnum, text)) for text in posts[s].table["sentence"]} for s in SPLITS}
    pictures = {s: Reviews.perception("image", s, PLAIN) for s in SPLITS}
    pixels = {s: {part.raw(i).tobytes() for i in range(len(part))} for s, part in pictures.items()}
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        assert not words[a] & words[b]
        assert not pixels[a] & pixels[b]


def test_both_drawings_of_an_emoji_are_in_its_split(posts):
    table = posts["train"].table
    assert set(table["style"]) == set(STYLES)
    assert (table.groupby("picture")["style"].nunique() == 2).all()


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("seed", [0, 5])
def test_every_count_is_the_expected_one_to_within_one(split, seed):
    reviews = Reviews(split, seed=seed)
    assert len(reviews) == SIZES[split]
    expected = joint.joint() * len(reviews)
    counts = np.zeros_like(expected)
    np.add.at(counts, (*reviews.feelings.T, reviews.labels), 1)
    assert np.abs(counts - expected).max() <= 1
    assert np.abs(counts.sum(-1) - expected.sum(-1)).max() <= 1
    assert abs(reviews.labels.sum() - expected[..., 1].sum()) <= 1


def test_parts_have_the_feeling_that_the_table_gave_them(posts):
    for reviews in posts.values():
        own = {
            "text": [sentences()[i].feeling for i in reviews.clusters["text"]],
            "image": [emoji()[i].feeling for i in reviews.clusters["image"]],
        }
        assert (reviews.feelings[:, 0] == own["text"]).all()
        assert (reviews.feelings[:, 1] == own["image"]).all()


def test_sentences_occur_once_and_pictures_evenly(posts):
    for reviews in posts.values():
        assert len(set(reviews.clusters["text"].tolist())) == len(reviews)
        uses = reviews.table.groupby(["image", "picture", "style"]).size()
        for feeling in (0, 1):
            assert uses[feeling].max() - uses[feeling].min() <= 1


def digest_of(seed: int) -> str:
    """Of the table and of some rows, computed in this process."""
    state = hashlib.sha256()
    for split in SPLITS:
        reviews = Reviews(split, seed=seed, processors=PLAIN)
        state.update(reviews.table.to_csv().encode())
        for i in range(0, len(reviews), 97):
            row = reviews[i]
            for name in ("text", "image", "audio"):
                state.update(row[name].numpy().tobytes())
    return state.hexdigest()


def test_same_seed_same_rows_in_a_new_process_other_seed_other_rows():
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", "import tests.test_reviews as t; print(t.digest_of(3))"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest_of(3)
    assert digest_of(3) != digest_of(4)


def test_rows_follow_the_row_format_and_collate(posts):
    reviews = posts["valid"]
    row = reviews[-1]
    assert list(row) == ["text", "image", "audio", "labels", "id"]
    assert row["id"] == len(reviews) - 1 and row["labels"] == reviews.labels[-1]
    assert row["image"].shape == (1, 3, 72, 72) and row["audio"].dim() == 1
    batch = mmbook.collate([reviews[i] for i in range(4)])
    assert batch["audio"].shape == batch["audio_mask"].shape
    assert batch["labels"].tolist() == reviews.labels[:4].tolist()
    only = Reviews("valid", modalities=("image",), processors=PLAIN)[3]
    assert list(only) == ["image", "labels", "id"]
    with pytest.raises(IndexError):
        reviews[len(reviews)]


def test_default_processors_give_the_shapes_of_the_design():
    row = Reviews("valid")[0]
    assert row["text"].dtype == torch.long and row["text"].dim() == 1
    assert row["image"].shape[:2] == (1, 3) and row["image"].dim() == 4
    assert row["audio"].dtype == torch.float32 and row["audio"].dim() == 1


def test_workers_give_the_same_rows(posts):
    def batches(workers: int) -> list[torch.Tensor]:
        subset = torch.utils.data.Subset(posts["test"], range(8))
        return [
            batch["audio"] for batch in DataLoader(subset, 4, collate_fn=mmbook.collate, num_workers=workers)
        ]

    for one, other in zip(batches(0), batches(2), strict=True):
        assert torch.equal(one, other)


def test_sound_is_speech_at_the_stated_rate_and_never_clipped():
    spoken = speech.recordings()
    assert len(spoken.voice) == len(speech.VOICES) * len(speech.PHRASES) * 2 * speech.TAKES
    for i in range(0, len(spoken.voice), 7):
        sound = spoken.sound(i)
        assert sound.dtype == np.float32
        assert 0.4 < len(sound) / speech.RATE <= speech.MAX_SECONDS
        assert 0.01 < np.abs(sound).max() <= 0.981
        assert -45 < 20 * np.log10(np.sqrt(np.mean(sound**2))) < -15
        assert np.abs(sound[[0, -1]]).max() < 0.01, "no click at the ends"


def pitch(sound: np.ndarray) -> float:
    """Median of the estimated pitch, in octaves."""
    track = functional.detect_pitch_frequency(
        torch.from_numpy(sound), speech.RATE, freq_low=60, freq_high=500
    )
    return track.log2().median().item()


def test_feeling_moves_pitch_tempo_and_level_within_a_voice():
    """In nearly every voice positive recordings are higher, shorter and louder; across voices it is mixed."""
    spoken = speech.recordings()
    some = np.flatnonzero(spoken.phrase == 0)
    facts = {"pitch": [], "level": [], "length": []}
    for i in some:
        sound = spoken.sound(i)
        facts["pitch"].append(pitch(sound))
        facts["level"].append(np.log(np.mean(sound**2)))
        facts["length"].append(len(sound))
    voice, feeling = spoken.voice[some], spoken.feeling[some]
    for name, sign in (("pitch", 1), ("level", 1), ("length", -1)):
        values = sign * np.array(facts[name], dtype=float)
        means = [
            [values[(voice == v) & (feeling == f)].mean() for f in (0, 1)] for v in range(len(speech.VOICES))
        ]
        rises = np.array([positive > negative for negative, positive in means])
        assert rises.mean() > 0.8, name
        lowest, highest = min(positive for _, positive in means), max(negative for negative, _ in means)
        assert lowest < highest, f"{name} alone would tell the feeling whatever the voice"


def probe(train: torch.Tensor, labels: np.ndarray, test: torch.Tensor, decay: float) -> torch.Tensor:
    """Predictions of a logistic regression."""
    mean, std = train.mean(0), train.std(0) + 1e-3
    weight = torch.zeros(train.shape[1] + 1, requires_grad=True)
    target = torch.from_numpy(labels).float()
    optimizer = torch.optim.LBFGS([weight], max_iter=50)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        logits = ((train - mean) / std) @ weight[1:] + weight[0]
        loss = (
            torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
            + decay * weight.square().sum()
        )
        loss.backward()
        return loss

    optimizer.step(closure)
    return (((test - mean) / std) @ weight[1:] + weight[0] > 0).long()


MEL = MelSpectrogram(speech.RATE, 400, hop_length=160, n_mels=40)


def words_of(text: str) -> torch.Tensor:
    """Which of 4,096 hashed words occur."""
    seen = torch.zeros(4096)
    seen[[int(hashlib.md5(word.encode()).hexdigest(), 16) % 4096 for word in text.split()]] = 1
    return seen


def mel_statistics(sound: tuple[np.ndarray, int]) -> torch.Tensor:
    mel = (
        MelSpectrogram(speech.RATE, 400, hop_length=160, n_mels=40)(torch.from_numpy(sound[0]))
        .add(1e-6)
        .log()
    )
    length = torch.tensor([len(sound[0]) / speech.RATE])
    return torch.cat([mel.mean(1), mel.std(1), mel.diff(dim=1).std(1), length])


@pytest.fixture(scope="module")
def picture_features():
    """Middle features of the pretrained MobileNetV2, four cells and the maximum, of a picture."""
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2()
    network.load_state_dict(torch.load(assets.path("mobilenet_v2"), weights_only=True))
    network = network.features[:17].eval()

    def features(picture) -> torch.Tensor:
        values = torch.from_numpy(np.array(picture.resize((96, 96)))).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():
            grid = network(values)
        return torch.cat(
            [torch.nn.functional.adaptive_avg_pool2d(grid, 2).flatten(), grid.amax((2, 3)).flatten()]
        )

    return features


@pytest.mark.parametrize("modality", joint.MODALITIES)
def test_each_feeling_can_be_perceived_but_not_perfectly(modality, picture_features):
    """A probe on simple features, on sentences, emoji and voices it has never met."""
    features = {"text": words_of, "image": picture_features, "audio": mel_statistics}[modality]
    parts = {split: Reviews.perception(modality, split, PLAIN) for split in SPLITS}
    step = 3 if modality == "audio" else 1  # enough to tell, and quick
    x = {
        s: torch.stack([features(part.raw(i)) for i in range(0, len(part), step)])
        for s, part in parts.items()
    }
    y = {s: part.labels[::step] for s, part in parts.items()}
    decay = 0.3 if modality == "text" else 0.05
    unseen = torch.cat([x["valid"], x["test"]])
    labels = np.concatenate([y["valid"], y["test"]])
    accuracy = (probe(x["train"], y["train"], unseen, decay).numpy() == labels).mean()
    assert 0.62 < accuracy < 0.98


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str | None]] = {}
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.setdefault(tag, dict(attrs))

    def handle_data(self, data):
        self.text += data


def test_show_is_accessible_and_needs_no_network(posts):
    post = posts["test"].raw(7)
    html = posts["test"].show(7).data
    tags = Tags(html)
    assert tags.found["img"]["alt"] == post.picture_name
    assert post.phrase in tags.found["audio"]["aria-label"]
    assert "controls" in tags.found["audio"]
    assert "http" not in html
    with wave.open(io.BytesIO(base64.b64decode(tags.found["audio"]["src"].split(",")[1]))) as sound:
        assert sound.getframerate() == post.rate and sound.getnframes() == len(post.sound)
    assert readable(post.sentence) in tags.text
    hidden = html[html.index("<details") :]
    assert Reviews.classes[post.label] in hidden
    assert "<script>" not in post._replace(sentence="a <script> b").show().data


@pytest.mark.parametrize(
    ("published", "printed"),
    [
        ("a quiet , pure , elliptical film", "A quiet, pure, elliptical film"),
        ("it isn't that i don't care .", "It isn't that I don't care."),
        ('the new " conan " is here ( again ) .', "The new “conan” is here (again)."),
        ("good -- very good !", "Good – very good!"),
    ],
)
def test_readable(published, printed):
    assert readable(published) == printed


def test_sentences_are_clean():
    seen = set()
    for sentence in sentences():
        key = "".join(filter(str.isalnum, sentence.text.lower()))
        assert key not in seen
        seen.add(key)
        assert not set(sentence.text) & set("<>{}|\\\ufffd") and "â€" not in sentence.text
        assert 4 <= sum(any(map(str.isalnum, word)) for word in sentence.text.split()) <= 30
        assert sentence.feeling in (0, 1)


def test_pictures_are_drawn_on_white_and_differ():
    drawn = [draw(row.code, style) for row in emoji() for style in STYLES]
    assert {picture.size for picture in drawn} == {(72, 72)} and {picture.mode for picture in drawn} == {
        "RGB"
    }
    assert len({picture.tobytes() for picture in drawn}) == len(drawn)
    assert all(picture.getpixel((0, 0)) == (255, 255, 255) for picture in drawn)
    counts = np.bincount([row.feeling for row in emoji()])
    assert abs(counts[0] - counts[1]) <= 0.1 * counts.sum()


def test_bad_names_are_refused_with_the_allowed_ones():
    with pytest.raises(ValueError, match=r"'dev'; it must be one of train, valid, test"):
        Reviews("dev")
    with pytest.raises(ValueError, match=r"'video'; it must be one of text, image, audio"):
        Reviews(modalities=("text", "video"))
    with pytest.raises(ValueError, match="'video'"):
        Reviews(processors={"video": len})
    with pytest.raises(ValueError, match="'video'"):
        Reviews.perception("video")
    with pytest.raises(ValueError, match="one of twemoji, openmoji"):
        draw("1f600", "noto")
    with pytest.raises(ValueError, match="no drawing"):
        draw("1f600-1f600", "openmoji")


def test_a_sound_made_alone_is_the_one_that_is_kept():
    together, spoken = speech.RECIPE.tensors(), speech.recordings()
    for number in (0, 77, len(spoken.voice) - 1):
        start = int(together["ends"][number - 1]) if number else 0
        kept = together["samples"][start : together["ends"][number]].numpy()
        assert np.array_equal(speech.coded(speech.made(speech._record, [number])[0]), kept)
        assert np.array_equal(spoken.sound(number), kept / np.float32(32768))


def test_a_few_sounds_are_made_one_by_one_and_then_all_at_once():
    class Recipe:
        made = 0

        def is_made(self):
            return False

        def tensors(self):
            self.made += 1
            return speech.stored([np.full(4, i / 1000, np.float32) for i in range(100)])

    recipe, asked = Recipe(), []
    sounds = speech.Sounds(
        recipe, lambda number: asked.append(number) or np.full(4, number / 1000, np.float32)
    )
    for number in [*range(speech.FEW), 3]:
        assert sounds[number] == pytest.approx(number / 1000, abs=1e-4)
    assert asked == list(range(speech.FEW)) and recipe.made == 0
    for number in (99, 98, 3):
        assert sounds[number] == pytest.approx(number / 1000, abs=1e-4)
    assert len(asked) == speech.FEW and recipe.made == 1
