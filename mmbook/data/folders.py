"""Folders of files: files that share a name are one sample; a subfolder for each class gives the labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmbook.data.kinds import KINDS
from mmbook.data.labels import Labels
from mmbook.data.tables import Sample, Table

# Names of subfolders that are splits of a dataset and no classes.
SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval"}


class Folder:
    """A folder and its subfolders: ``a.png``, ``a.wav`` and ``a.txt`` are one sample, called a.

    Which file is which modality its extension says (`mmbook.data.kinds.KINDS`). The label of a sample is the
    subfolder that it lies in, the first one below the folder: ``cat/001.png`` is a cat. Files and folders
    whose names begin with a dot, and ``__MACOSX``, are passed over; links are followed.

    Attributes:
        path: of the folder.
        modalities: None, since files take the names of whatever modalities they are read for.

    Raises:
        NotADirectoryError: no such folder.
    """

    modalities = None

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise NotADirectoryError(f"no folder at {self.path}")
        self.files = sorted(_files(self.path, set()))

    def labels(self) -> Labels:
        """The subfolders as classes, in the order of the alphabet.

        Raises:
            ValueError: no subfolders, or such that are splits.
        """
        parts = [file.relative_to(self.path).parts for file in self.files]
        names = {found[0] for found in parts if len(found) > 1}
        if not names:
            raise ValueError(
                f"{self.path} has no subfolders with files in them; labels are the names of subfolders, as "
                f"in {self.path / 'cat' / '001.png'}"
            )
        if {name.lower() for name in names} <= SPLITS and max(map(len, parts)) > 2:
            raise ValueError(
                f"the subfolders of {self.path} are {', '.join(sorted(names))}, which are splits and no "
                f"classes; give one of them, such as {self.path / min(names)}"
            )
        return Labels.named(sorted(names))

    def samples(self, kinds: Mapping[str, str]) -> list[Sample]:
        """The samples in the order of their names. Two files for one modality are an error of their sample.

        Args:
            kinds: modality -> key of `mmbook.data.kinds.KINDS`, another for each.

        Raises:
            ValueError: two modalities of one kind or one of an unknown kind, which both need a table;
                or no file of these kinds.
        """
        modality = _by_extension(kinds)
        groups: dict[str, dict[str, list[Path]]] = {}
        for file in self.files:
            name = modality.get(file.suffix.lower())
            if name is not None:
                stem = file.relative_to(self.path).with_suffix("").as_posix()
                groups.setdefault(stem, {}).setdefault(name, []).append(file)
        if not groups:
            raise ValueError(f"{self.path} holds no file that the model reads: {', '.join(modality)}")
        return [self._sample(stem, groups[stem]) for stem in sorted(groups)]

    def ignored(self, kinds: Mapping[str, str]) -> list[Path]:
        """Files of other kinds."""
        modality = _by_extension(kinds)
        return [file for file in self.files if file.suffix.lower() not in modality]

    def _sample(self, stem: str, found: Mapping[str, list[Path]]) -> Sample:
        twice = tuple(
            f"several files for {name!r}: {', '.join(file.name for file in files)}; keep one"
            for name, files in found.items()
            if len(files) > 1
        )
        items: dict[str, Path | str] = {name: files[0] for name, files in found.items()}
        label = stem.split("/")[0] if "/" in stem else None
        return Sample(stem, f"{stem} in {self.path}", items, label, twice)


def open_files(source: str | os.PathLike[str]) -> Table | Folder:
    """The folder, or the table, at `source`.

    Raises:
        FileNotFoundError: neither is there.
        ValueError: as `Table` does.
    """
    if Path(source).is_dir():
        return Folder(source)
    if not Path(source).is_file():
        raise FileNotFoundError(f"no CSV file and no folder at {source}")
    return Table(source)


def _by_extension(kinds: Mapping[str, str]) -> dict[str, str]:
    """Extension, with its dot -> modality."""
    for name, kind in kinds.items():
        alike = [repr(other) for other in kinds if kinds[other] == kind]
        if kind not in KINDS or len(alike) > 1:
            why = (
                f"{', '.join(alike)} are all of the kind {kind}" if len(alike) > 1 else "it has no known kind"
            )
            raise ValueError(
                f"extensions do not say which files are {name!r}: {why}. List the files in a CSV with the "
                f"columns {', '.join(kinds)}"
            )
    return {f".{extension}": name for name, kind in kinds.items() for extension in KINDS[kind]}


def _files(folder: Path, above: set[str]) -> Iterator[Path]:
    """All files below `folder`; a link back to one of the folders above is not followed."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for path in folder.iterdir():
        if path.name[0] == "." or path.name == "__MACOSX":
            continue
        if path.is_dir():
            yield from _files(path, above | {real})
        else:  # a link to nowhere, too: reading it says so
            yield path
