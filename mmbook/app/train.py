"""A model trained as a configuration says, and saved with all it needs to read files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from mmbook.app.console import is_main, say
from mmbook.app.run_folder import write_run
from mmbook.app.spec import read_run
from mmbook.models import MultimodalModel
from mmbook.train.accelerator import is_sharded, whole
from mmbook.train.callbacks import Callback
from mmbook.train.trainer import Trainer


class EpochLines(Callback):
    """Prints the new row of the history: losses, the scores of the validation set, speed."""

    def on_epoch(self, trainer: Trainer, row: Mapping[str, float]) -> None:
        shown = [f"{name} {value:.4g}" for name, value in row.items() if name not in ("epoch", "lr")]
        typer.echo(f"epoch {int(row['epoch'])}/{trainer.settings.epochs}  {'  '.join(shown)}")


def train(config: Path, changes: Sequence[str] = (), resume: bool = False) -> None:
    """Run what `mmbook.app.spec.read_run` reads, and save the model; the arguments are those of `read_run`.

    Raises:
        ConfigError: a fault in the configuration.
        typer.Exit: interrupted from the keyboard; code 130.
    """
    run = read_run(config, changes, resume)
    trainer = Trainer(run.model, run.train, run.valid, callbacks=[EpochLines()], **run.settings)
    if is_main():
        write_run(run.effective, run.output)
    say(f"{sum(p.numel() for p in run.model.parameters()):,} parameters, {trainer.steps} steps")
    try:
        trainer.fit()
    except KeyboardInterrupt:
        say(f"stopped in step {trainer.progress.step}; the same command with --resume goes on")
        raise typer.Exit(130) from None
    found = whole_model(run.model)
    if is_main():
        found.save_pretrained(run.output)
        say(f"saved in {run.output}")


def whole_model(model: MultimodalModel) -> MultimodalModel:
    """The model, or where FSDP has cut it into shards, another with its weights put together.

    All processes must ask for it together.
    """
    if not any(is_sharded(p) for p in model.parameters()):
        return model
    found = MultimodalModel.from_config(model.to_config())
    found.load_state_dict({name: whole(value).cpu() for name, value in model.state_dict().items()})
    return found
