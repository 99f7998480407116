"""Our model under transformers.Trainer, and a transformers classifier under ours, with equal gradients."""

import numpy as np
import pytest
import torch
import transformers

from mmbook import MultimodalModel, Trainer, collate
from mmbook.data.arrays import from_arrays
from mmbook.fusion import build_fusion
from mmbook.heads import Classification
from mmbook.models import Features, MultiTask, fusion_on_features

SAMPLES = 8


def our_model():
    torch.manual_seed(0)
    return fusion_on_features({"a": 4, "b": 5}, "attention", num_classes=2, width=8)


def our_data():
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(SAMPLES, 3, 4)), "b": rng.normal(size=(SAMPLES, 5))}
    return from_arrays(arrays, np.arange(SAMPLES) % 2, {"a": [3, 0, 1, 2, 3, 1, 2, 3]})


def their_model():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = transformers.BertForSequenceClassification(config)
    # Its loss is a plain mean too, but transformers 5.23 infers the contrary from **kwargs in its forward:
    # without this, transformers' own trainer gives it four times the gradient at accumulation 4.
    model.accepts_loss_kwargs = False
    return model


def their_data():
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 50, (SAMPLES, 6), generator=g)
    mask = torch.ones(6).long()
    return [{"input_ids": ids[i], "attention_mask": mask, "labels": i % 2} for i in range(SAMPLES)]


def task_model():
    torch.manual_seed(0)
    heads = {name: Classification(8, 2) for name in ("one", "two")}
    encoders = {"a": Features(4), "b": Features(5)}
    return MultimodalModel(encoders, build_fusion("concat", {"a": 4, "b": 5}, 8), MultiTask(heads))


def task_data():
    return [{**row, "labels": torch.tensor([i % 2, i // 2 % 2])} for i, row in enumerate(our_data())]


CASES = {
    "ours": (our_model, our_data, collate),
    "tasks": (task_model, task_data, collate),
    "theirs": (their_model, their_data, transformers.default_data_collator),
}


def whole_batch_gradient(case):
    make, data, join = CASES[case]
    model, rows = make(), data()
    model(**join([rows[i] for i in range(SAMPLES)])).loss.backward()
    return {n: p.grad for n, p in model.named_parameters()}


def catch_gradient(optimizer, caught, model):
    """Keep the gradient at the optimiser's first step."""

    def hook(*_):
        found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        caught or caught.update({n: gradient.detach().clone() for n, gradient in found.items()})

    optimizer.register_step_pre_hook(hook)


def under_transformers(case, accumulate, folder):
    make, data, join = CASES[case]
    model, caught = make(), {}
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=SAMPLES // accumulate,
        gradient_accumulation_steps=accumulate,
        max_steps=1,
        max_grad_norm=0.0,
        remove_unused_columns=False,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        optim="adamw_torch",
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=data(), data_collator=join)
    trainer.create_optimizer()
    catch_gradient(trainer.optimizer, caught, model)
    trainer.train()
    return caught, trainer


def under_ours(case, accumulate):
    make, data, join = CASES[case]
    model, caught = make(), {}
    trainer = Trainer(
        model,
        data(),
        epochs=1,
        batch_size=SAMPLES,
        lr=1e-3,
        seed=0,
        collate=join,
        accumulate=accumulate,
        clip=None,
        device="cpu",
        progress=False,
    )
    catch_gradient(trainer.optimizers[""], caught, model)
    trainer.fit()
    return caught, trainer


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("case", CASES)
def test_both_trainers_see_the_gradient_of_the_whole_batch(case, accumulate, tmp_path):
    expected = whole_batch_gradient(case)
    for found in (under_ours(case, accumulate)[0], under_transformers(case, accumulate, tmp_path)[0]):
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(
                found[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_without_the_flag_accumulation_would_be_wrong(tmp_path, monkeypatch):
    """A head whose loss is over rows and not over labels needs the flag that MultimodalModel gives for it."""
    expected = whole_batch_gradient("tasks")
    name = next(iter(expected))
    for flag, right in ((False, True), (True, False)):
        monkeypatch.setattr("mmbook.MultimodalModel.accepts_loss_kwargs", flag)
        found = under_transformers("tasks", 4, tmp_path / str(flag))[0]
        assert torch.allclose(found[name], expected[name], rtol=1e-2) == right


def test_prediction_under_transformers_trainer(tmp_path):
    _, trainer = under_transformers("ours", 1, tmp_path)
    result = trainer.predict(our_data(), ignore_keys=["attentions"])
    assert result.predictions.shape == (SAMPLES, 2) and np.isfinite(result.metrics["test_loss"])


def test_a_transformers_classifier_is_evaluated_by_ours():
    _, trainer = under_ours("theirs", 1)
    assert set(trainer.evaluate(their_data())) >= {"loss", "accuracy"}
