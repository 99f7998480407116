"""`mmbook train`: a model from a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmbook.app.console import is_main, plainly, say

if TYPE_CHECKING:
    from mmbook.models import MultimodalModel


def train(
    config: Annotated[Path, typer.Argument(help="YAML file that says what to train on what.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the config, as in --set training.lr=1e-4."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that was broken off, to the same result.")
    ] = False,
) -> None:
    """Train a model as a YAML file says, and save it with all it needs to read files."""
    with plainly():
        from mmbook.app.config import read_run
        from mmbook.app.config_file import write_yaml
        from mmbook.app.config_output import FILE
        from mmbook.app.console import EpochLines
        from mmbook.train.trainer import Trainer

        run = read_run(config, set_ or [], resume)
        trainer = Trainer(run.model, run.train, run.valid, callbacks=[EpochLines()], **run.settings)
        if is_main():
            write_yaml(run.effective, run.output / FILE)
        say(f"{sum(p.numel() for p in run.model.parameters()):,} parameters, {trainer.steps} steps")
        try:
            trainer.fit()
        except KeyboardInterrupt:
            say(f"stopped in step {trainer.progress.step}; the same command with --resume goes on")
            raise typer.Exit(130) from None
        whole = whole_model(run.model)
        if trainer.accelerator.is_main_process:
            whole.save_pretrained(run.output)
            say(f"saved in {run.output}")


def whole_model(model: MultimodalModel) -> MultimodalModel:
    """The model, or where FSDP has cut it into shards, another with its weights put together.

    All processes must ask for it together.
    """
    from mmbook.models import MultimodalModel
    from mmbook.train.accelerator import is_shard, whole

    if not any(is_shard(p) for p in model.parameters()):
        return model
    found = MultimodalModel.from_config(model.to_config())
    found.load_state_dict({name: whole(value).cpu() for name, value in model.state_dict().items()})
    return found
