"""A test set that counts how often it was opened: what one looks at again and again, one begins to fit."""

from __future__ import annotations

from typing import Any


class TestSet:
    """A dataset under lock; `open` gives it out and notes what for.

    `compare` opens it once for all its rows and prints under the table how often that has been done. Choose
    models and settings on the validation set, and open the test set when nothing is left to choose.

    Args:
        dataset: any.

    Attributes:
        uses: what it was opened for, in order.
    """

    __test__ = False  # or pytest takes it for a test

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.uses: list[str] = []

    def open(self, purpose: str) -> Any:
        """The dataset, after one more use was counted.

        Raises:
            ValueError: no purpose.
        """
        if not purpose.strip():
            raise ValueError("say what the test set is opened for, such as 'final comparison of fusions'")
        self.uses.append(purpose)
        return self._dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: Any) -> Any:
        raise TypeError("a TestSet is not read row by row: .open('what for') gives the dataset and counts")

    def __str__(self) -> str:
        times = f"{len(self.uses)} time{'' if len(self.uses) == 1 else 's'}"
        return f"test set used {times}{': ' if self.uses else ''}{'; '.join(self.uses)}"
