"""Losses equal the libraries' losses, their gradients autograd's; all in float64."""

import math

import pytest
import torch
from torch.nn import functional as F

from mmbook import losses
from mmbook.book.written import losses as written

torch_close = torch.testing.assert_close


def rand(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(*shape, generator=g, dtype=torch.float64)).requires_grad_()


LOGITS, LABELS = rand(7, 5), torch.tensor([0, 4, 2, 2, 1, 3, 0])


def slope(loss, at):
    return torch.autograd.grad(loss, at, retain_graph=True)[0]


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_cross_entropy_and_label_smoothing(epsilon):
    targets = written.smoothed(LABELS, 5, epsilon, torch.float64)
    torch_close(targets.sum(dim=1), torch.ones(7, dtype=torch.float64))
    theirs = F.cross_entropy(LOGITS, LABELS, label_smoothing=epsilon)
    ours = written.cross_entropy(LOGITS, targets)
    torch_close(ours, theirs)
    torch_close(slope(ours, LOGITS), slope(theirs, LOGITS))
    torch_close(written.cross_entropy_gradient(LOGITS, targets), slope(theirs, LOGITS))


def test_cross_entropy_of_huge_logits_is_finite():
    logits = torch.tensor([[1e4, -1e4, 0.0]])
    assert written.cross_entropy(logits, written.smoothed(torch.tensor([1]), 3)) == 2e4


def test_mse():
    values, targets = rand(4, 3), rand(4, 3, seed=1)
    theirs = F.mse_loss(values, targets)
    torch_close(written.mse(values, targets), theirs)
    torch_close(written.mse_gradient(values, targets), slope(theirs, values))
    with pytest.raises(ValueError, match=r"\(4, 1\).*\(4,\)"):
        written.mse(values[:, :1], targets[:, 0])


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (3.5, 0.9)])
def test_sigmoid_focal_equals_torchvision(gamma, alpha):
    from torchvision.ops import sigmoid_focal_loss

    targets = F.one_hot(LABELS, 5).double()
    theirs = sigmoid_focal_loss(LOGITS, targets, alpha, gamma, reduction="mean")
    ours = written.sigmoid_focal(LOGITS, targets, gamma, alpha)
    torch_close(ours, theirs)
    torch_close(slope(ours, LOGITS), slope(theirs, LOGITS))
    torch_close(written.sigmoid_focal_gradient(LOGITS, targets, gamma, alpha), slope(theirs, LOGITS))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_softmax_focal_equals_its_definition(gamma):
    right = LOGITS.softmax(dim=1)[torch.arange(7), LABELS]
    defined = -((1 - right) ** gamma * right.log()).mean()
    torch_close(written.softmax_focal(LOGITS, LABELS, gamma), defined)
    torch_close(written.softmax_focal_gradient(LOGITS, LABELS, gamma), slope(defined, LOGITS))


def test_softmax_focal_without_gamma_is_cross_entropy_and_of_two_classes_a_sigmoid():
    torch_close(written.softmax_focal(LOGITS, LABELS, 0.0), F.cross_entropy(LOGITS, LABELS))
    x, targets = rand(6), torch.tensor([0.0, 1, 1, 0, 1, 0], dtype=torch.float64)
    two = torch.stack([torch.zeros_like(x), x], dim=1)
    torch_close(
        written.softmax_focal(two, targets.long(), 2.0), 2 * written.sigmoid_focal(x, targets, 2.0, alpha=0.5)
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_focal_gradient_of_a_sample_that_is_right_to_the_last_digit_is_zero(gamma):
    gradient = written.softmax_focal_gradient(torch.tensor([[200.0, 0.0]]), torch.tensor([0]), gamma)
    assert gradient.abs().max() < 1e-30


def test_focal_lessens_easy_samples_more():
    """Against cross-entropy, the gradient of a sample at p = 0.9 shrinks more than that of one at 0.1."""
    p = torch.tensor([0.1, 0.9], dtype=torch.float64)
    logits, labels = torch.stack([p.log(), (1 - p).log()], dim=1), torch.tensor([0, 0])
    plain, focal = (written.softmax_focal_gradient(logits, labels, gamma)[:, 0] for gamma in (0.0, 2.0))
    assert (focal / plain)[0] > 10 * (focal / plain)[1] > 0


def test_info_nce_equals_clip():
    from transformers.models.clip import modeling_clip

    # its name changed between versions of transformers
    name = next(n for n in ("clip_loss", "image_text_contrastive_loss") if hasattr(modeling_clip, n))
    a, b = rand(6, 8), rand(6, 8, seed=1)
    theirs = getattr(modeling_clip, name)(F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / 0.2)
    ours = losses.info_nce(a, b, 0.2)
    torch_close(ours, theirs)
    for mine, other in zip(
        torch.autograd.grad(ours, (a, b)), torch.autograd.grad(theirs, (a, b)), strict=True
    ):
        torch_close(mine, other)


def test_sigmoid_contrastive_equals_siglip():
    from transformers import SiglipConfig, SiglipModel

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": 9, "max_position_embeddings": 4, "projection_size": 16}
    image = small | {"image_size": 8, "patch_size": 4}
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=image)).double().eval()
    model.logit_scale.data.fill_(1.3)
    model.logit_bias.data.fill_(-2.0)
    ids, pixels = torch.randint(0, 9, (5, 4)), torch.randn(5, 3, 8, 8, dtype=torch.float64)
    out = model(input_ids=ids, pixel_values=pixels, return_loss=True)
    scale, bias = model.logit_scale.exp(), model.logit_bias
    ours = losses.sigmoid_contrastive(7 * out.text_embeds, out.image_embeds, scale, bias)
    torch_close(ours, out.loss)
    learned = [p for p in model.parameters() if p.requires_grad]
    theirs = torch.autograd.grad(out.loss, learned, retain_graph=True, allow_unused=True)
    for mine, other in zip(torch.autograd.grad(ours, learned, allow_unused=True), theirs, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            torch_close(mine, other, rtol=1e-6, atol=1e-12)


def test_contrastive_losses_are_least_for_the_right_pairing():
    a = torch.eye(4, dtype=torch.float64)
    for loss in (losses.info_nce, losses.sigmoid_contrastive):
        assert loss(a, a) < loss(a, a.roll(1, dims=0))
    same = torch.ones(4, 3)
    torch_close(losses.info_nce(same, same), torch.tensor(math.log(4)))


def test_both_sides_of_a_pair_count_alike():
    a, b = rand(5, 3), rand(5, 3, seed=1)
    for loss in (losses.info_nce, losses.sigmoid_contrastive):
        torch_close(loss(a, b), loss(b, a))


def test_contrastive_errors():
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(3, 3\)"):
        losses.info_nce(torch.ones(4, 3), torch.ones(3, 3))
    with pytest.raises(ValueError, match="at least 2"):
        losses.sigmoid_contrastive(torch.ones(1, 3), torch.ones(1, 3))
    with pytest.raises(ValueError, match="temperature is 0"):
        losses.info_nce(torch.ones(4, 3), torch.ones(4, 3), 0)
    with pytest.raises(ValueError, match="epsilon is 1"):
        written.smoothed(LABELS, 5, 1)
    with pytest.raises(ValueError, match=r"smoothed\(labels, C\)"):
        written.cross_entropy(LOGITS, LABELS)


def test_generalized_iou_equals_torchvision():
    from torchvision.ops import box_convert, generalized_box_iou, generalized_box_iou_loss

    centre = rand(6, 4).sigmoid()
    boxes = losses.corners(centre)
    torch_close(boxes, box_convert(centre, "cxcywh", "xyxy"))
    a, b = boxes[:4], boxes[2:]
    torch_close(losses.generalized_iou(a, b), generalized_box_iou(a, b))
    ours = 1 - losses.generalized_iou(boxes[:3, None], boxes[3:, None])
    theirs = generalized_box_iou_loss(boxes[:3], boxes[3:])
    torch_close(ours.flatten(), theirs, rtol=1e-6, atol=1e-6)  # theirs adds 1e-7 to denominators


def test_generalized_iou_of_boxes_apart_still_has_a_slope():
    still = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    far = torch.tensor([[3.0, 0.0, 4.0, 1.0]], requires_grad=True)
    assert slope(losses.generalized_iou(still, far).sum(), far)[0, 0] < 0
