"""Labels: of which kind those of a dataset are, and the one way in which they are read and checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

LABEL_KINDS = ("class", "number", "none")
Label = int | float | list[float]
LARGEST = 2**63  # what a tensor of integers cannot hold
SHOWN = 20  # names of classes in an error


class Labels(NamedTuple):
    """What the labels of a dataset are.

    Attributes:
        kind: ``"class"`` for integers from 0, ``"number"`` for a float or a list of them, ``"none"``.
        classes: how many classes there are, where known.
        names: of the classes in order, where they have names.
        width: how many numbers a label is a list of, 0 for a number that is no list; None where not known.
    """

    kind: str
    classes: int | None = None
    names: tuple[str, ...] = ()
    width: int | None = None

    @classmethod
    def like(cls, value: Any) -> Labels:
        """The labels of which `value` is one, None being no label."""
        if value is None:
            return cls("none")
        if type(value) is int:
            return cls("class")
        return cls("number", width=len(value) if isinstance(value, list) else 0)

    @classmethod
    def named(cls, words: Sequence[str]) -> Labels:
        """Classes by these names, in the order of the alphabet."""
        names = tuple(sorted(set(words)))
        return cls("class", len(names), names)

    @classmethod
    def of_cells(cls, cells: Sequence[str | None]) -> Labels:
        """What the cells of a table's column are labels of.

        Whole numbers are classes; other finite numbers, or several in a cell with blanks between, are
        numbers; words are the names of classes.

        Raises:
            ValueError: cells of which some are empty, that are words and numbers, or negative classes.
        """
        given = [cell for cell in cells if cell]
        if not given:
            return cls("none")
        if len(given) < len(cells):
            raise ValueError(
                f"there is no label in {len(cells) - len(given)} of {len(cells)} rows; fill them in"
            )
        values = {cell: _numbers(cell) for cell in given}
        words = [cell for cell, numbers in values.items() if not numbers]
        if words:
            odd = next((cell for cell, numbers in values.items() if numbers), None)
            if odd is not None:
                raise ValueError(
                    f"labels are numbers, such as {odd!r}, and words, such as {min(words)!r}; take either"
                )
            return cls.named(words)
        if not all(len(numbers) == 1 and type(numbers[0]) is int for numbers in values.values()):
            width = len(values[given[0]])
            return cls("number", width=0 if width == 1 else width)
        whole = [int(numbers[0]) for numbers in values.values()]
        if min(whole) < 0:
            raise ValueError(
                f"a label is {min(whole)}; classes are names, or whole numbers from 0. Write other numbers "
                f"with a point, such as {min(whole)}.0"
            )
        return cls("class", max(whole) + 1)

    def read(self, cell: str) -> Label:
        """The label that is written in a table, or as the name of a folder.

        Args:
            cell: a class's name or its number, names first, for a class may be called "1"; a number, or
                several with blanks between.

        Raises:
            ValueError: it is none of these labels.
        """
        if cell in self.names:
            return self.names.index(cell)
        numbers = _numbers(cell)
        if self.kind == "class" and len(numbers) == 1 and type(numbers[0]) is int:
            return self.checked(numbers[0], cell)
        if self.kind == "number" and numbers:
            several = len(numbers) > 1 or (self.width or 0) == 1
            return self.checked(numbers if several else numbers[0], cell)
        raise self._refused(cell)

    def checked(self, value: Any, written: Any = None) -> Label:
        """`value` as a row of a dataset holds it: an int, a float, or a list of floats.

        Args:
            written: what an error shows, where it is something else.

        Raises:
            ValueError: it is something else, or no class of these.
        """
        written = value if written is None else written
        if self.kind == "class":
            if type(value) is not int or not 0 <= value < (LARGEST if self.classes is None else self.classes):
                raise self._refused(written)
            return value
        numbers = value if isinstance(value, list) and value else [value]
        width = len(numbers) if numbers is value else 0
        if width != (width if self.width is None else self.width) or not all(map(_is_finite, numbers)):
            raise self._refused(written)
        return [float(number) for number in numbers] if width else float(value)

    def _refused(self, value: Any) -> ValueError:
        if self.kind == "number":
            numbers = {None: "a finite number or a list of them", 0: "a finite number"}
            allowed = numbers.get(self.width, f"{self.width} numbers, each finite")
        else:
            allowed = "an integer from 0" + ("" if self.classes is None else f" to {self.classes - 1}")
            if self.names:
                more = "" if len(self.names) <= SHOWN else f" and {len(self.names) - SHOWN} more"
                names = ", ".join(self.names[:SHOWN]) + more
                allowed = f"one of {names}, or their numbers 0 to {len(self.names) - 1}"
        return ValueError(f"the label is {value!r:.60}; it must be {allowed}")


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300  # false for NaN; an int may be of any length


def _numbers(cell: str) -> list[int | float]:
    """The numbers that a cell consists of, ints where they are written so; none where it is words."""
    words = cell.split()
    if not all(re.fullmatch(r"[-+.0-9eE]+", word) for word in words):
        return []  # float() would take "nan" and "1_000", too
    try:
        found = [int(word) if word.lstrip("+-").isdigit() else float(word) for word in words]
    except ValueError:
        return []
    return found if all(map(_is_finite, found)) else []
