"""``shards.json``: which shards a folder holds, and what is in them."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from mmbook.data.files import FilesSkipped, Skipped
from mmbook.data.shard_members import ABOUT, Labels, label_of, modality_of, stated_members
from mmbook.data.tar_samples import NotAShard, samples_of

FILE = "shards.json"
VERSION = 1


class Shard(NamedTuple):
    """An entry of the index: file name in the folder, number of samples, size in bytes."""

    file: str
    samples: int
    bytes: int


@dataclass(frozen=True)
class ShardIndex:
    """What ``shards.json`` says.

    Attributes:
        shards: in order.
        modalities: names, sorted.
        labels: ``"class"``, ``"number"`` or ``"none"``; see `mmbook.data.shard_members.Labels`.
        classes: how many classes there are; None unless the labels are classes.
        class_names: of the classes in order, where they have names.
        stated: whether the json of every sample states its members, so that a lost one is noticed.
        version: of this format.
    """

    shards: tuple[Shard, ...]
    modalities: tuple[str, ...]
    labels: str
    classes: int | None = None
    class_names: tuple[str, ...] | None = None
    stated: bool = False
    version: int = VERSION

    @property
    def samples(self) -> int:
        """Of all shards together."""
        return sum(shard.samples for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Of all shards together."""
        return sum(shard.bytes for shard in self.shards)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``shards.json``; what stood there before is replaced in one step."""
        content = asdict(self) | {"shards": [shard._asdict() for shard in self.shards]}
        part = Path(folder) / f"{FILE}.part"
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
        part.replace(Path(folder) / FILE)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> ShardIndex:
        """Read ``shards.json``.

        Raises:
            FileNotFoundError: there is none in the folder.
            ValueError: it is damaged, or of a later version than this package knows.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no {FILE} in {os.fspath(folder)}; write one by `mmbook shard --index`, or name "
                f"the shards by a pattern, such as '{Path(folder) / '*.tar'}'"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content["version"]
            if version == VERSION:
                names = content["class_names"]
                return replace(
                    cls(**content),
                    shards=tuple(Shard(**shard) for shard in content["shards"]),
                    modalities=tuple(content["modalities"]),
                    class_names=None if names is None else tuple(names),
                )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is damaged ({error!r}); write it anew by `mmbook shard --index`"
            ) from error
        raise ValueError(
            f"{path} has version {version}; this package reads version {VERSION}. Install a newer one"
        )


def index_shards(
    folder: str | os.PathLike[str], *, labels: str | None = None, classes: int | None = None
) -> ShardIndex:
    """Write the index of a folder of tar shards that others have written, by reading every one of them once.

    Nothing is decoded. Names of the classes are kept from an index that the folder has already, as long as
    they are enough for the labels. What is lost already, and labels that do not fit, are reported
    (`FilesSkipped`).

    Args:
        folder: with files ``*.tar``.
        labels: ``"class"``, ``"number"`` or ``"none"``; what the first sample has, where not given.
        classes: how many there are; the largest label and one, where not given.

    Raises:
        ValueError: no tar in the folder, or not a sample in any.
    """
    shards, modalities, stated = [], set[str](), True
    rule, largest = None if labels is None else Labels(labels, classes), -1
    bad: list[Skipped] = []
    for path in sorted(Path(folder).glob("*.tar")):
        count = 0
        try:
            for sample in samples_of(path):
                if isinstance(sample, Skipped):
                    bad.append(sample)
                    continue
                count += 1
                modalities |= {modality_of(suffix) for suffix in sample.parts if suffix not in ABOUT}
                stated = stated and stated_members(sample.about) is not None
                try:
                    label = label_of(sample)
                    rule = rule or Labels.like(label)._replace(classes=classes)
                    if rule.kind == "class":
                        largest = max(largest, int(rule.checked(label)))
                except ValueError as error:
                    bad.append(Skipped(f"{path.name}/{sample.key}", str(error)))
        except NotAShard as error:
            bad.append(Skipped(path.name, str(error)))
        shards.append(Shard(path.name, count, path.stat().st_size))
    if rule is None:
        raise ValueError(f"no sample can be read from the {len(shards)} files *.tar in {os.fspath(folder)}")
    if bad:
        warnings.warn(
            f"{len(bad)} samples or shards are damaged, such as {bad[0].path}: {bad[0].reason}",
            FilesSkipped,
            stacklevel=2,
        )
    names = None
    if rule.kind == "class":
        names = _names_before(folder)
        if names is not None and (largest >= len(names) or classes not in (None, len(names))):
            names = None
        classes = classes or len(names or range(largest + 1))
    index = ShardIndex(tuple(shards), tuple(sorted(modalities)), rule.kind, classes, names, stated)
    index.save(folder)
    return index


def _names_before(folder: str | os.PathLike[str]) -> tuple[str, ...] | None:
    try:
        return ShardIndex.load(folder).class_names
    except (FileNotFoundError, ValueError):  # none, or a damaged one, which is what a new one is for
        return None
