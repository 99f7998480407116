"""The format of shards: how members of a sample are called, what its json states, and ``shards.json``.

The conventions are WebDataset's, so that other tools read our shards and we read theirs: members of one
sample follow each other and share a key, the name up to the first dot. ``000123.txt``, ``000123.png`` and
``000123.wav`` are text, image and audio; where there are two pictures, or the modality has a name of its own,
it stands in between: ``000123.face.png``. Labels are in ``000123.json`` as ``labels``, or, in shards of
others, in ``000123.cls``.

Ours state in the json which members there are, with the CRC-32 of each and of the json itself. So a member
that is lost is a fault and not a missing modality, and no byte can change unseen.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from mmbook.data.kinds import KIND_OF_EXTENSION

INDEX = "shards.json"
VERSION = 1
STATEMENT = "mmbook"  # the key of the json under which our writer states the members
ABOUT = ("json", "cls")  # members that are no modality


class RawSample(NamedTuple):
    """A sample as it stands in its shard, nothing decoded but the json.

    Attributes:
        shard: file name of the shard.
        key: what its members' names start with.
        about: the json; empty where there is none.
        parts: suffix -> bytes of every member, such as ``"png"`` or ``"face.png"``.
    """

    shard: str
    key: str
    about: dict[str, Any]
    parts: dict[str, bytes]


def modality_of(suffix: str) -> str:
    """The modality that a member holds: ``"image"`` for both ``"png"`` and ``"image.png"``."""
    name, _, extension = suffix.rpartition(".")
    return name or KIND_OF_EXTENSION.get(extension, extension)


def suffix_of(name: str, extension: str) -> str:
    """The shortest suffix that `modality_of` reads as `name`."""
    return extension if KIND_OF_EXTENSION.get(extension) == name else f"{name}.{extension}"


def packed(number: int, labels: Any, parts: Mapping[str, bytes]) -> bytes:
    """The json of a sample: its id and labels, and the statement of its members."""
    about = {"id": number} | ({} if labels is None else {"labels": labels})
    stated: dict[str, Any] = {"members": {suffix: zlib.crc32(content) for suffix, content in parts.items()}}
    stated["check"] = _check(about | {STATEMENT: stated})
    return json.dumps(about | {STATEMENT: stated}).encode()


def unpacked(content: bytes) -> dict[str, Any]:
    """The json of a sample.

    Raises:
        ValueError: not JSON, not an object, or not what was written.
    """
    about = json.loads(content)
    if not isinstance(about, dict):
        raise ValueError(f"the json holds {type(about).__name__}; it must hold an object with 'labels'")
    if stated_members(about) is not None and about[STATEMENT].get("check") != _check(about):
        raise ValueError("the json is not what was written: its checksum differs")
    return about


def stated_members(about: Mapping[str, Any]) -> dict[str, int] | None:
    """Suffix -> CRC-32 of the members that the sample must have; None where its json does not say."""
    statement = about.get(STATEMENT)
    members = statement.get("members") if isinstance(statement, dict) else None
    return members if isinstance(members, dict) else None


def _check(about: Mapping[str, Any]) -> int:
    """CRC-32 of the json without its own checksum, in a form that does not depend on how it is written."""
    bare = {**about, STATEMENT: {k: v for k, v in about[STATEMENT].items() if k != "check"}}
    return zlib.crc32(json.dumps(bare, sort_keys=True).encode())


def label_of(raw: RawSample) -> Any:
    """The label as the json or the cls has it, unchecked; None where there is none.

    Raises:
        ValueError: a cls that is no number.
    """
    if "labels" in raw.about or "cls" not in raw.parts:
        return raw.about.get("labels")
    text = raw.parts["cls"].decode("utf-8").strip()
    try:
        return int(text)
    except ValueError:
        return float(text)


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
        labels: ``"class"``, ``"number"`` or ``"none"``; see `mmbook.data.labels.Labels`.
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
        part = Path(folder) / f"{INDEX}.part"
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
        part.replace(Path(folder) / INDEX)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> ShardIndex:
        """Read ``shards.json``.

        Raises:
            FileNotFoundError: there is none in the folder.
            ValueError: it is damaged, or of a later version than this package knows.
        """
        path = Path(folder) / INDEX
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no {INDEX} in {os.fspath(folder)}; write one by `mmbook shard --index`, or name "
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
