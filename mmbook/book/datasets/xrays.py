"""Chest X-rays of children, with and without pneumonia.

Real pictures of routine care at Guangzhou Women and Children's Medical Center (Kermany et al. 2018,
https://doi.org/10.1016/j.cell.2018.02.010), children of one to five years; the label is that of physicians
who read them. Here they are 224 × 224 and grey. Not for clinical use: the two classes differ in more than
the disease (exposure, position, the letters in the corner, the tubes of the very ill), and a model may read
that.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from functools import cache
from typing import NamedTuple

from PIL import Image

from mmbook import assets
from mmbook.book.datasets.splits import check_split
from mmbook.seeding import digest

FOLDER = "sofiimg/datasets/pneumonia/"
TRAIN, VALID = 0.6, 0.15  # shares of the patients; the rest is for testing


class XRay(NamedTuple):
    """One picture of the collection."""

    file: str  # inside the package
    label: int  # 0 normal, 1 pneumonia
    patient: str  # as far as the file's name tells
    split: str


@cache
def xrays() -> tuple[XRay, ...]:
    """All pictures, each content once, in the order of their names.

    The package's own split is not used: numbers of patients occur on both sides of it. Here a patient is in
    one split. The names tell patients apart by a number, "person12" or "IM-0012"; "NORMAL2-IM-0012" may be
    somebody else than "IM-0012" and is taken for the same, to be safe.
    """
    found: dict[str, XRay] = {}
    with zipfile.ZipFile(assets.path("chest-xrays")) as archive:
        for file in sorted(name for name in archive.namelist() if name.startswith(FOLDER)):
            number = re.search(r"/(?:NORMAL2-)?(person|IM-)(\d+)", file)
            if number is None:  # a folder
                continue
            patient = number[1].rstrip("-") + number[2]
            content = hashlib.sha256(archive.read(file)).hexdigest()
            found.setdefault(content, XRay(file, int("/PNEUMONIA/" in file), patient, _split(patient)))
    return tuple(found.values())


def _split(patient: str) -> str:
    share = digest("patient", patient) / 2**64
    return "train" if share < TRAIN else "valid" if share < TRAIN + VALID else "test"


def xray_indices(split: str) -> list[int]:
    """Indices into `xrays` of those in `split`."""
    check_split(split)
    return [i for i, xray in enumerate(xrays()) if xray.split == split]


def picture(index: int) -> Image.Image:
    """X-ray `index`, RGB with three equal channels, 224 × 224."""
    content = _archive(os.getpid()).read(xrays()[index].file)
    return Image.open(io.BytesIO(content)).convert("RGB")


@cache
def _archive(process: int) -> zipfile.ZipFile:
    """Opened once, for its list of files is long; and once a process, for a fork would share its place."""
    return zipfile.ZipFile(assets.path("chest-xrays"))
