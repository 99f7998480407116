"""``python -m mmbook.train CONFIG.yaml``: `mmbook train` for torchrun and accelerate launch.

With them: ``torchrun --nproc-per-node 2 -m mmbook.train CONFIG.yaml``.
"""

if __name__ == "__main__":  # a worker process of a data loader imports this file, too
    import typer

    from mmbook.app.cli import train

    typer.run(train)
