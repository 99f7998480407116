"""One sample of a shard: how its members are called, what its json states, how its bytes become a row.

The conventions are WebDataset's, so that other tools read our shards and we read theirs: members of one
sample follow each other and share a key, the name up to the first dot. ``000123.txt``, ``000123.png`` and
``000123.wav`` are text, image and audio; where there are two pictures, or the modality has a name of its own,
it stands in between: ``000123.face.png``. Labels are in ``000123.json`` as ``labels``, or, in shards of
others, in ``000123.cls``.

Ours state in the json which members there are, with the CRC-32 of each and of the json itself. So a member
that is lost is a fault and not a missing modality, and no byte can change unseen.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmbook.data.files import Skipped
from mmbook.seeding import digest

STATEMENT = "mmbook"  # the key of the json under which our writer states the members
LABEL_KINDS = ("class", "number", "none")
ABOUT = ("json", "cls")  # members that are no modality
KINDS = {
    "text": ("txt",),
    "image": ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff"),
    "audio": ("wav", "flac", "ogg", "mp3"),
    "video": ("mp4", "webm", "mkv", "mov", "avi"),
}
_KIND = {extension: kind for kind, extensions in KINDS.items() for extension in extensions}
# In JPEG: a marker that is neither a stuffed byte nor a restart. What lies before it is compressed pixels.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

Processors = Mapping[str, Callable[[Any], Tensor]]


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


class Labels(NamedTuple):
    """What the labels of a set are.

    Attributes:
        kind: ``"class"`` for integers from 0, ``"number"`` for a float or a list of them, ``"none"``.
        classes: how many classes there are, where known.
    """

    kind: str
    classes: int | None = None

    @classmethod
    def like(cls, value: Any) -> Labels:
        """The kind that `value` belongs to, None being no label."""
        return cls("none" if value is None else "class" if type(value) is int else "number")

    def checked(self, value: Any) -> int | float | Tensor:
        """`value` as a row holds it: an int, a float, or a float32 tensor ``(K,)``.

        Raises:
            ValueError: it is something else, or no class of these.
        """
        if value is None:
            raise ValueError(
                "there is no 'labels' in the json, and no cls; add one, or read with labels='none'"
            )
        if self.kind == "number":
            numbers = value if isinstance(value, list) and value else [value]
            if not all(type(n) in (int, float) and math.isfinite(n) for n in numbers):
                raise ValueError(f"labels is {value!r:.60}; it must be a finite number or a list of them")
            return torch.tensor(numbers, dtype=torch.float32) if numbers is value else float(value)
        if type(value) is not int or value < 0 or (self.classes is not None and value >= self.classes):
            upto = "" if self.classes is None else f" to {self.classes - 1}"
            raise ValueError(f"labels is {value!r:.60}; it must be an integer from 0{upto}")
        return value


def modality_of(suffix: str) -> str:
    """The modality that a member holds: ``"image"`` for both ``"png"`` and ``"image.png"``."""
    name, _, extension = suffix.rpartition(".")
    return name or _KIND.get(extension, extension)


def suffix_of(name: str, extension: str) -> str:
    """The shortest suffix that `modality_of` reads as `name`."""
    return extension if _KIND.get(extension) == name else f"{name}.{extension}"


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


def row_of(raw: RawSample, processors: Processors, labels: Labels) -> dict[str, Any] | Skipped:
    """The sample decoded, as `mmbook.collate` takes it, or what is wrong with it.

    A processor gets what those of `mmbook.preprocess` read: a str for a text, the path of a temporary file
    for a sound, bytes for anything else. Members without a processor are not read.
    """
    row: dict[str, Any] = {}
    stated = stated_members(raw.about) or {}
    for suffix, content in raw.parts.items():
        name = modality_of(suffix)
        if name not in processors or suffix in ABOUT:
            continue
        member = f"{raw.shard}/{raw.key}.{suffix}"
        try:
            if stated.get(suffix, zlib.crc32(content)) != zlib.crc32(content):
                raise ValueError("the bytes are not those written: their checksum differs")
            if name in row:
                raise ValueError(f"a second member for {name!r}; name it {raw.key}.NAME.{suffix}")
            row[name] = _processed(content, suffix, processors[name])
        except (ValueError, OSError) as error:
            return Skipped(member, str(error))
    if labels.kind != "none":
        try:
            row["labels"] = labels.checked(label_of(raw))
        except ValueError as error:
            return Skipped(f"{raw.shard}/{raw.key}.{'json' if raw.about else 'cls'}", str(error))
    return row | {"id": _number(raw)}


def _check(about: Mapping[str, Any]) -> int:
    """CRC-32 of the json without its own checksum, in a form that does not depend on how it is written."""
    bare = {**about, STATEMENT: {k: v for k, v in about[STATEMENT].items() if k != "check"}}
    return zlib.crc32(json.dumps(bare, sort_keys=True).encode())


def _number(raw: RawSample) -> int:
    """An id that fits a tensor: the json's, else the key's number, else a hash of shard and key."""
    number = raw.about.get("id")
    if type(number) is int and abs(number) < 2**63:
        return number
    return int(raw.key) if re.fullmatch(r"[0-9]{1,18}", raw.key) else digest(raw.shard, raw.key) >> 1


def _processed(content: bytes, suffix: str, processor: Callable[[Any], Tensor]) -> Tensor:
    extension = suffix.rpartition(".")[2]
    kind = _KIND.get(extension)
    if kind == "text":
        return processor(content.decode("utf-8"))
    if kind == "audio":
        return _from_file(content, extension, processor)
    if extension == "png":
        _check_png(content)
    if extension in ("jpg", "jpeg"):
        _check_jpeg(content)
    return processor(content)


def _from_file(content: bytes, extension: str, processor: Callable[[Any], Tensor]) -> Tensor:
    handle, path = tempfile.mkstemp(f".{extension}")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        return processor(path)
    except (ValueError, OSError) as error:  # the name of the temporary file would help nobody
        raise ValueError(str(error).replace(path, "the sound")) from error
    finally:
        os.unlink(path)


def _check_png(content: bytes) -> None:
    """Refuse a picture with a wrong checksum: decoding alone does not look at those of the pixels."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            image.verify()
    except (OSError, SyntaxError) as error:
        raise ValueError(f"cannot read a picture from {len(content)} bytes: {error}") from error


def _check_jpeg(content: bytes) -> None:
    """Refuse a picture without its end, which PIL may have been told to fill with grey.

    The end is looked for along the segments: the thumbnail of a camera's picture has an end of its own.
    """
    at = 2  # after the start marker
    while found := _MARKER.search(content, at):
        at = found.end()
        if found[0] == b"\xff\xd9":
            return
        at += int.from_bytes(content[at : at + 2], "big")
    raise ValueError(f"the picture is cut off: its {len(content)} bytes have no end marker")
