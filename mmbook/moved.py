"""Where public names are that stood elsewhere before version 0.2: an old import says the new place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import Any

# (old place, new place) -> modules and public names that are called as before. Of a package that
# went as a whole, its own name is enough: Python asks for it first.
MOVED = {
    ("mmbook", "mmbook.app"): "cli doctor export predict",
    ("mmbook", "mmbook.book"): "recipes",
    ("mmbook.data", "mmbook.book.datasets"): """
        Clinic Digits Emoji EmojiClips EmojiScenes Post Reviews Synthetic
        clinic dictation digits emoji_clips emoji_scenes formant_voices joint perception questions
        report_sentences reviews sentences speech splits spoken_digits synthetic word_pairs xrays
    """,
    ("mmbook.data", "mmbook.book.written"): "information",
    ("mmbook.encoders", "mmbook.book.written.encoder_costs"): "overview",
    ("mmbook.encoders", "mmbook.book.written.skip_gram"): "skip_gram",
    ("mmbook.evaluate", "mmbook.explain"): """
        Attribution Errors IncompleteMap SanityCheck attention_weights attribute browse_errors by_pixel
        by_token gradient_x_input integrated_gradients overlay randomised rollout sanity_check shapley
        smooth_grad spectrogram_overlay words_html
        attention_maps attribution errors saliency sanity
    """,
    ("mmbook.generate", "mmbook.book.written.fit_gan"): "fit_gan",
    ("mmbook.losses", "mmbook.book.written.losses"): """
        cross_entropy cross_entropy_gradient mse mse_gradient sigmoid_focal sigmoid_focal_gradient smoothed
        softmax_focal softmax_focal_gradient
    """,
    ("mmbook.preprocess", "mmbook.book"): "voice_augment",
    ("mmbook.preprocess", "mmbook.book.film"): "play write_video",
    ("mmbook.preprocess", "mmbook.book.voice_augment"): "VoiceAugmenter",
    ("mmbook.preprocess", "mmbook.book.written"): "denoise stop_words",
    ("mmbook.preprocess", "mmbook.book.written.stop_words"): "NEGATIONS STOP_WORDS remove_stop_words",
    ("mmbook.train", "mmbook.book.written"): "cost_model memory",
}
# Modules that are called otherwise now, or whose contents another has.
RENAMED = {
    "mmbook.set_detection": "mmbook.models.detection",
    "mmbook.heads.Detection": "mmbook.models.detection.Detection",
    "mmbook.commands": "mmbook.app",
    "mmbook.data.emoji": "mmbook.book.datasets.emoji_drawings",
    "mmbook.data.emoji_names": "mmbook.book.datasets.emoji",
    "mmbook.data.shard_index": "mmbook.data.shard_format",
    "mmbook.data.shard_members": "mmbook.data.shard_format",
    "mmbook.data.shard_paths": "mmbook.data.shards",
    "mmbook.data.shard_table": "mmbook.data.shard_writer",
    "mmbook.encoders.costs": "mmbook.book.written.encoder_costs",
    "mmbook.encoders.flattened": "mmbook.encoders.wrappers",
    "mmbook.encoders.frozen": "mmbook.encoders.wrappers",
    "mmbook.encoders.gru": "mmbook.encoders.recurrent",
    "mmbook.encoders.log_mel": "mmbook.encoders.mel",
    "mmbook.encoders.lstm": "mmbook.encoders.recurrent",
    "mmbook.encoders.pooled": "mmbook.encoders.wrappers",
    "mmbook.encoders.projected": "mmbook.encoders.wrappers",
    "mmbook.encoders.telephone_mel": "mmbook.encoders.mel",
    "mmbook.encoders.wave_convs": "mmbook.encoders.wav2vec2",
    "mmbook.evaluate.Missing": "mmbook.evaluate.MissingAtRandom",
    "mmbook.evaluate.classification": "mmbook.evaluate.metrics",
    "mmbook.evaluate.detection": "mmbook.evaluate.metrics",
    "mmbook.evaluate.explained": "mmbook.explain.saliency",
    "mmbook.evaluate.missing": "mmbook.evaluate.corrupt",
    "mmbook.evaluate.regression": "mmbook.evaluate.metrics",
    "mmbook.evaluate.report_table": "mmbook.evaluate.report",
    "mmbook.evaluate.saliency_show": "mmbook.explain.show",
    "mmbook.evaluate.testset": "mmbook.evaluate.comparison",
    "mmbook.losses.classes": "mmbook.book.written.losses",
    "mmbook.losses.numbers": "mmbook.book.written.losses",
    "mmbook.models.weighting": "mmbook.models.multitask",
    "mmbook.preprocess.encode_video": "mmbook.book.film",
    "mmbook.preprocess.resample": "mmbook.preprocess.audio",
    "mmbook.preprocess.video_sampling": "mmbook.preprocess.video",
    "mmbook.preprocess.vocabulary": "mmbook.preprocess.text",
    "mmbook.train.best": "mmbook.train.checkpoint",
    "mmbook.train.config": "mmbook.app.spec",
    "mmbook.train.config_check": "mmbook.app.schema",
    "mmbook.train.engine": "mmbook.train.accelerator",
    "mmbook.train.feed": "mmbook.train.batches",
    "mmbook.train.journal": "mmbook.train.progress",
    "mmbook.train.loading": "mmbook.train.batches",
    "mmbook.train.predict": "mmbook.train.predictions",
    "mmbook.train.sharded": "mmbook.train.accelerator",
    "mmbook.train.steps": "mmbook.book.written.optimizers",
    "mmbook.train.trace": "mmbook.book.written.memory",
}
# Public names that did not go where their module or package went.
ELSEWHERE = {
    "mmbook.encoders.gru": {"gru_cell": "mmbook.book.written.recurrent_cells.gru_cell"},
    "mmbook.encoders.lstm": {"lstm_cell": "mmbook.book.written.recurrent_cells.lstm_cell"},
    "mmbook.data.sentences": {"of_split": "mmbook.book.datasets.sentences.sentence_indices"},
    "mmbook.predict": {"files_dataset": "mmbook.app.config_data.files_dataset"},
}
NEW = {
    f"{old}.{name}": f"{new}.{name}" for (old, new), names in MOVED.items() for name in names.split()
} | RENAMED


def check(old: str) -> None:
    """Nothing, unless what is called `old` has moved.

    Raises:
        ImportError: it has; the message is the import to write instead.
    """
    if old in NEW:
        others = [f"; for {name}: {_line(new)}" for name, new in ELSEWHERE.get(old, {}).items()]
        raise ImportError(f"{old} has moved; write: {_line(NEW[old])}{''.join(others)}", name=NEW[old])


def _line(new: str) -> str:
    package, _, name = new.rpartition(".")
    return f"from {package} import {name}"


class Signpost(MetaPathFinder):
    """Finds no module; for one that has moved it says so, in place of "No module named ..."."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        check(fullname)


def put_up() -> None:
    """Have the signpost asked; once, however often mmbook is imported.

    It comes first: an update in place leaves folders without sources behind, which Python takes for packages.
    """
    if not any(isinstance(finder, Signpost) for finder in sys.meta_path):
        sys.meta_path.insert(0, Signpost())


def moved_names(package: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package, for names that left it.

    Raises:
        ImportError: from the function, for a name that has moved; it says where to.
        AttributeError: from the function, for any other.
    """

    def __getattr__(name: str) -> Any:
        check(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__
