"""Where public names are that stood elsewhere before version 0.2: an old import says the new place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import Any

# Modules that are gone -> the module that has their contents.
MODULES = {
    "mmbook.cli": "mmbook.app.cli",
    "mmbook.commands": "mmbook.app",
    "mmbook.commands.epochs": "mmbook.app.console",
    "mmbook.commands.evaluate": "mmbook.app.evaluate",
    "mmbook.commands.export": "mmbook.app.export.command",
    "mmbook.commands.opening": "mmbook.app.console",
    "mmbook.commands.predict": "mmbook.app.predict",
    "mmbook.commands.shard": "mmbook.app.shard",
    "mmbook.commands.speaking": "mmbook.app.console",
    "mmbook.commands.train": "mmbook.app.train",
    "mmbook.data.card": "mmbook.book.datasets.card",
    "mmbook.data.clinic": "mmbook.book.datasets.clinic",
    "mmbook.data.dictation": "mmbook.book.datasets.dictation",
    "mmbook.data.digits": "mmbook.book.datasets.digits",
    "mmbook.data.emoji": "mmbook.book.datasets.emoji_drawings",
    "mmbook.data.emoji_clips": "mmbook.book.datasets.emoji_clips",
    "mmbook.data.emoji_names": "mmbook.book.datasets.emoji",
    "mmbook.data.emoji_scenes": "mmbook.book.datasets.emoji_scenes",
    "mmbook.data.formant_voices": "mmbook.book.datasets.formant_voices",
    "mmbook.data.information": "mmbook.book.written.information",
    "mmbook.data.joint": "mmbook.book.datasets.joint",
    "mmbook.data.perception": "mmbook.book.datasets.perception",
    "mmbook.data.questions": "mmbook.book.datasets.questions",
    "mmbook.data.report_sentences": "mmbook.book.datasets.report_sentences",
    "mmbook.data.reviews": "mmbook.book.datasets.reviews",
    "mmbook.data.sentences": "mmbook.book.datasets.sentences",
    "mmbook.data.speech": "mmbook.book.datasets.speech",
    "mmbook.data.splits": "mmbook.book.datasets.splits",
    "mmbook.data.spoken_digits": "mmbook.book.datasets.spoken_digits",
    "mmbook.data.synthetic": "mmbook.book.datasets.synthetic",
    "mmbook.data.word_pairs": "mmbook.book.datasets.word_pairs",
    "mmbook.data.xrays": "mmbook.book.datasets.xrays",
    "mmbook.doctor": "mmbook.app.doctor",
    "mmbook.encoders.bert_names": "mmbook.encoders.bert",
    "mmbook.encoders.flattened": "mmbook.encoders.wrappers",
    "mmbook.encoders.frozen": "mmbook.encoders.wrappers",
    "mmbook.encoders.gru": "mmbook.encoders.recurrent",
    "mmbook.encoders.log_mel": "mmbook.encoders.mel",
    "mmbook.encoders.lstm": "mmbook.encoders.recurrent",
    "mmbook.encoders.pooled": "mmbook.encoders.wrappers",
    "mmbook.encoders.projected": "mmbook.encoders.wrappers",
    "mmbook.encoders.skip_gram": "mmbook.book.written.skip_gram",
    "mmbook.encoders.telephone_mel": "mmbook.encoders.mel",
    "mmbook.encoders.wave_convs": "mmbook.encoders.wav2vec2",
    "mmbook.evaluate.attention_maps": "mmbook.explain.attention_maps",
    "mmbook.evaluate.attribution": "mmbook.explain.attribution",
    "mmbook.evaluate.classification": "mmbook.evaluate.metrics",
    "mmbook.evaluate.controls": "mmbook.evaluate.comparison",
    "mmbook.evaluate.detection": "mmbook.evaluate.metrics",
    "mmbook.evaluate.errors": "mmbook.explain.errors",
    "mmbook.evaluate.explained": "mmbook.explain.saliency",
    "mmbook.evaluate.missing": "mmbook.evaluate.corrupt",
    "mmbook.evaluate.regression": "mmbook.evaluate.metrics",
    "mmbook.evaluate.report_table": "mmbook.evaluate.report",
    "mmbook.evaluate.saliency": "mmbook.explain.saliency",
    "mmbook.evaluate.saliency_show": "mmbook.explain.show",
    "mmbook.evaluate.sanity": "mmbook.explain.sanity",
    "mmbook.evaluate.testset": "mmbook.evaluate.comparison",
    "mmbook.export": "mmbook.app.export",
    "mmbook.export.checks": "mmbook.app.export.checks",
    "mmbook.export.flat": "mmbook.app.export.flat",
    "mmbook.export.formats": "mmbook.app.export.formats",
    "mmbook.export.model": "mmbook.app.export.model",
    "mmbook.export.trace": "mmbook.app.export.trace",
    "mmbook.models.weighting": "mmbook.models.multitask",
    "mmbook.predict": "mmbook.app.predict",
    "mmbook.predict.answers": "mmbook.app.predict",
    "mmbook.predict.columns": "mmbook.app.predict",
    "mmbook.predict.labelled": "mmbook.app.labelled",
    "mmbook.predict.read": "mmbook.app.read",
    "mmbook.predict.saved": "mmbook.app.saved",
    "mmbook.predict.sources": "mmbook.app.sources",
    "mmbook.preprocess.denoise": "mmbook.book.written.denoise",
    "mmbook.preprocess.resample": "mmbook.preprocess.audio",
    "mmbook.preprocess.video_sampling": "mmbook.preprocess.video",
    "mmbook.preprocess.vocabulary": "mmbook.preprocess.text",
    "mmbook.recipes": "mmbook.book.recipes",
    "mmbook.recipes.balance": "mmbook.book.recipes.balance",
    "mmbook.recipes.clinic": "mmbook.book.recipes.clinic",
    "mmbook.recipes.clips": "mmbook.book.recipes.clips",
    "mmbook.recipes.digit_requests": "mmbook.book.recipes.digit_requests",
    "mmbook.recipes.digits": "mmbook.book.recipes.digits",
    "mmbook.recipes.gaps": "mmbook.book.recipes.gaps",
    "mmbook.recipes.kept": "mmbook.book.recipes.kept",
    "mmbook.recipes.labels": "mmbook.book.recipes.labels",
    "mmbook.recipes.pictures": "mmbook.book.recipes.pictures",
    "mmbook.recipes.reviews": "mmbook.book.recipes.reviews",
    "mmbook.recipes.scenes": "mmbook.book.recipes.scenes",
    "mmbook.recipes.tasks": "mmbook.book.recipes.tasks",
    "mmbook.recipes.transfer": "mmbook.book.recipes.transfer",
    "mmbook.recipes.words": "mmbook.book.recipes.words",
    "mmbook.set_detection": "mmbook.models.set_detection",
    "mmbook.train.config": "mmbook.app.config",
    "mmbook.train.config_check": "mmbook.app.config_check",
    "mmbook.train.config_data": "mmbook.app.config_data",
    "mmbook.train.config_file": "mmbook.app.config_file",
    "mmbook.train.config_model": "mmbook.app.config_model",
    "mmbook.train.config_output": "mmbook.app.config_output",
    "mmbook.train.cost_model": "mmbook.book.written.cost_model",
    "mmbook.train.memory": "mmbook.book.written.memory",
    "mmbook.train.steps": "mmbook.book.written.optimizers",
    "mmbook.train.trace": "mmbook.book.written.memory",
    "mmbook.generate.fit_gan": "mmbook.book.written.fit_gan",
    "mmbook.encoders.costs": "mmbook.book.written.encoder_costs",
    "mmbook.preprocess.encode_video": "mmbook.book.film",
    "mmbook.preprocess.stop_words": "mmbook.book.written.stop_words",
    "mmbook.losses.classes": "mmbook.book.written.losses",
    "mmbook.losses.numbers": "mmbook.book.written.losses",
}
# (package that is still there, package that has them now): names that moved.
NAMES = {
    ("mmbook.data", "mmbook.book.datasets"): """
        Clinic Digits Emoji EmojiClips EmojiScenes Post Reviews Synthetic
    """,
    ("mmbook.evaluate", "mmbook.explain"): """
        Attribution Errors IncompleteMap SanityCheck attention_weights attribute browse_errors by_pixel
        by_token gradient_x_input integrated_gradients overlay randomised rollout sanity_check shapley
        smooth_grad spectrogram_overlay words_html
    """,
    ("mmbook.preprocess", "mmbook.book.written.stop_words"): """
        NEGATIONS STOP_WORDS remove_stop_words
    """,
    ("mmbook.preprocess", "mmbook.book.film"): """
        play write_video
    """,
    ("mmbook.encoders", "mmbook.book.written.encoder_costs"): """
        overview
    """,
    ("mmbook.generate", "mmbook.book.written.fit_gan"): """
        fit_gan
    """,
    ("mmbook.losses", "mmbook.book.written.losses"): """
        cross_entropy cross_entropy_gradient sigmoid_focal sigmoid_focal_gradient smoothed softmax_focal
        softmax_focal_gradient mse mse_gradient
    """,
    ("mmbook.encoders", "mmbook.book.written.skip_gram"): """
        skip_gram
    """,
}
# Names of one place that are called otherwise now.
RENAMED = {"mmbook.evaluate.Missing": "MissingAtRandom"}
_NEW = {f"{old}.{name}": new for (old, new), names in NAMES.items() for name in names.split()}


class Signpost(MetaPathFinder):
    """Finds no module; for one that has moved it says so, in place of "No module named ..."."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname in MODULES:
            new = MODULES[fullname]
            raise ModuleNotFoundError(f"{fullname} has moved; import {new}", name=fullname)


def put_up() -> None:
    """Ask the signpost after all other finders have said no; once, however often mmbook is imported."""
    if not any(isinstance(finder, Signpost) for finder in sys.meta_path):
        sys.meta_path.append(Signpost())


def moved_names(package: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package, for names that left it.

    Raises:
        ImportError: from the function, for a name that has moved; it says where to.
        AttributeError: from the function, for any other.
    """

    def __getattr__(name: str) -> Any:
        old = f"{package}.{name}"
        if old in RENAMED:
            raise ImportError(f"{old} is now called {RENAMED[old]}", name=package)
        if old in _NEW:
            raise ImportError(f"{old} has moved; write: from {_NEW[old]} import {name}", name=package)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__
