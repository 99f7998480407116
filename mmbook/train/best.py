"""Which epochs were the best, and their weights."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from mmbook.train.checkpoint import Progress, write_weights
from mmbook.train.sharded import cut_as, whole

LOWER_IS_BETTER = ("loss", "nll", "mae", "mse", "brier", "ece")


class Best:
    """Keeps the weights of the best epochs: in a folder, or those of the very best in memory.

    Args:
        progress: of the run; `best` and `stale` are kept in it.
        monitor: the score that decides.
        keep: how many epochs' weights stay in the folder.
        folder: None for memory.
    """

    def __init__(self, progress: Progress, monitor: str, keep: int, folder: Path | None) -> None:
        self.progress, self.monitor, self.keep, self.folder = progress, monitor, keep, folder
        self.state: dict[str, Tensor] | None = None

    def consider(self, scores: Mapping[str, float], model: nn.Module, main: bool = True) -> None:
        """Take in an epoch's scores, and the weights where they are among the best.

        Raises:
            ValueError: the scores lack `monitor`.
        """
        p = self.progress
        if self.monitor not in scores:
            raise ValueError(f"monitor is {self.monitor!r}; evaluate gives {', '.join(scores)}")
        epoch, value = p.epoch + 1, scores[self.monitor]
        first = not p.best or self._key(value) < min(map(self._key, p.best.values()))
        ranked = sorted([*p.best.items(), (epoch, value)], key=lambda pair: self._key(pair[1]))[: self.keep]
        p.best, p.stale = dict(ranked), 0 if first else p.stale + 1
        if epoch in p.best:
            if self.folder is None:  # each process holds its own, since each puts it back
                self.state = {k: v.detach().clone() for k, v in _trained(model).items()}
            else:
                state = {k: whole(v) for k, v in _trained(model).items()}
                if main:
                    write_weights(state, self._path(epoch))

    def _key(self, value: float) -> float:
        sign = 1 if self.monitor.rpartition("_")[2] in LOWER_IS_BETTER else -1
        return sign * value if value == value else float("inf")  # what is not a number is never the best

    def _path(self, epoch: int) -> Path:
        assert self.folder is not None
        return self.folder / f"epoch-{epoch:05d}.safetensors"

    def prune(self) -> None:
        """Remove the weights of epochs that are no longer among the best; call it after a checkpoint."""
        if self.folder is not None:
            keep = {self._path(epoch) for epoch in self.progress.best}
            for path in self.folder.glob("epoch-*.safetensors"):
                if path not in keep:
                    path.unlink(missing_ok=True)  # another process may have done it

    def put_back(self, model: nn.Module, main: bool = True) -> None:
        """Give the model the best epoch's weights, and the file of them its name, best.safetensors."""
        state = self.state
        if self.folder is not None and self.progress.best:
            path = self._path(next(iter(self.progress.best)))
            state = load_file(path)
            if main:
                part = self.folder / ".best.safetensors.part"
                shutil.copyfile(path, part)
                part.replace(self.folder / "best.safetensors")
        if state is not None:
            own = model.state_dict()
            model.load_state_dict({k: cut_as(v, own[k]) for k, v in state.items()}, strict=False)


def _trained(model: nn.Module) -> dict[str, Tensor]:
    """The state without frozen parameters, which cannot have changed and may be large."""
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}
