"""The core is read in an hour: what one training step runs through stands in few files of few lines."""

import sys
from pathlib import Path

import torch

import mmbook
from mmbook import MultimodalModel, Trainer
from mmbook.encoders import SmallCNN
from mmbook.fusion import build_fusion
from mmbook.heads import Classification
from mmbook.train import Callback

PACKAGE = str(Path(mmbook.__file__).parent)
MOST_FILES, MOST_LINES = 12, 1500


class BetweenSteps(Callback):
    """Notes every file of the package that runs from the end of the first step to the end of the second."""

    def __init__(self):
        self.files = set()

    def on_step(self, trainer, values):
        sys.setprofile(self.note if values["step"] == 1 else None)

    def note(self, frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            self.files.add(frame.f_code.co_filename)


def test_a_training_step_crosses_few_files():
    torch.manual_seed(0)
    encoder = SmallCNN((8, 16))
    fusion = build_fusion("concat", {"image": encoder.out_dim}, 8)
    model = MultimodalModel({"image": encoder}, fusion, Classification(8, 2))
    rows = [{"image": torch.randn(1, 3, 16, 16), "labels": i % 2, "id": i} for i in range(12)]
    watch = BetweenSteps()
    try:
        Trainer(
            model,
            rows,
            epochs=1,
            batch_size=4,
            lr=1e-3,
            seed=0,
            device="cpu",
            callbacks=[watch],
            progress=False,
        ).fit()
    finally:
        sys.setprofile(None)
    lines = {
        Path(file).relative_to(PACKAGE).as_posix(): len(Path(file).read_text().splitlines())
        for file in watch.files
    }
    assert {"modality.py", "heads.py", "train/trainer.py", "train/gradient.py"} <= lines.keys()
    assert len(lines) <= MOST_FILES and sum(lines.values()) <= MOST_LINES, lines
