"""The set head: its matching is the best there is, its loss is DETR's, and what is padding counts nothing."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch.nn import functional as F
from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss

from mmbook.book.datasets import EmojiScenes
from mmbook.evaluate import detection_metrics
from mmbook.losses import corners, generalized_iou
from mmbook.models.detection import SetDetection, spread

DIM, CLASSES, QUERIES = 6, 3, 5


def head(seed=0, **options):
    torch.manual_seed(seed)
    made = SetDetection(DIM, CLASSES, queries=QUERIES, **options).double()
    torch.nn.init.normal_(made.start, std=2)  # an untrained head says almost the same in every query
    return made


def scenes(count=6, seed=1, most=4):
    """Labels ``(count, most, 5)`` with 0 to `most` objects."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.rand(count, most, 5, generator=random, dtype=torch.float64)
    labels[..., 0] = torch.randint(CLASSES, (count, most), generator=random)
    labels[..., 3:] = 0.1 + 0.3 * labels[..., 3:]
    for row in range(count):
        labels[row, row % (most + 1) :] = -1
    return labels


def answers(made, count=6, seed=2):
    random = torch.Generator().manual_seed(seed)
    return made(torch.randn(count, DIM, generator=random, dtype=torch.float64)).logits


def test_the_matching_is_the_best_of_all():
    made, labels = head(), scenes()
    logits = answers(made)
    kind, boxes = made.split(logits)
    for row, matched in enumerate(made.match(logits, labels)):
        objects = labels[row][labels[row, :, 0] >= 0]
        likely = kind[row].softmax(-1)[:, objects[:, 0].long()]
        apart = (boxes[row][:, None] - objects[None, :, 1:]).abs().mean(-1)
        overlap = generalized_iou(corners(boxes[row]), corners(objects[:, 1:]))
        cost = 5 * apart - 2 * overlap - likely
        place = torch.arange(len(objects))
        best = min(
            cost[list(some), place].sum().item() for some in permutations(range(QUERIES), len(objects))
        )
        found = (matched >= 0).nonzero()[:, 0]
        assert sorted(matched[found].tolist()) == place.tolist()  # each object once
        assert cost[found, matched[found]].sum().item() == pytest.approx(best)


def test_matching_and_loss_are_those_of_detr():
    """Theirs is a mean over all objects of a batch, so the two agree sample by sample."""
    made, labels = head(), scenes()
    logits = answers(made)
    # our distance is the mean over four numbers, theirs the sum
    matcher = HungarianMatcher(class_cost=1, bbox_cost=made.box_weight / 4, giou_cost=made.iou_weight)
    detr = ImageLoss(matcher, CLASSES, made.no_object, ["labels", "boxes"]).double()
    for row in range(1, 5):  # theirs cannot do without any object
        kind, boxes = made.split(logits[row : row + 1])
        objects = labels[row][labels[row, :, 0] >= 0]
        target = {"class_labels": objects[:, 0].long(), "boxes": objects[:, 1:]}
        outputs = {"logits": kind, "pred_boxes": boxes}
        ((queries, places),) = matcher(outputs, [target])
        ours = made.match(logits[row : row + 1], labels[row : row + 1])[0]
        assert ours[queries].tolist() == places.tolist() and (ours >= 0).sum() == len(queries)
        theirs = detr(outputs, [target])
        expected = theirs["loss_ce"] + theirs["loss_bbox"] * made.box_weight / 4
        expected = expected + made.iou_weight * theirs["loss_giou"]
        torch.testing.assert_close(made.loss(logits[row : row + 1], labels[row : row + 1]), expected)


def test_the_loss_of_a_batch_is_the_mean_over_its_samples():
    made, labels = head(), scenes()
    logits = answers(made)
    alone = [made.loss(logits[i : i + 1], labels[i : i + 1]) for i in range(len(labels))]
    torch.testing.assert_close(made.loss(logits, labels), torch.stack(alone).mean())


def test_order_and_padding_of_the_objects_do_not_matter():
    made, labels = head(), scenes()
    fused = torch.randn(6, DIM, dtype=torch.float64)
    padded = torch.cat([torch.full((6, 2, 5), float("nan"), dtype=torch.float64), labels.flip(1)], dim=1)
    padded[..., 0] = torch.where(padded[..., 0] >= 0, padded[..., 0], -1.0)
    padded[..., 1:][padded[..., 0] < 0] = float("nan")

    def step(labels):
        made.zero_grad()
        loss = made(fused, labels).loss
        loss.backward()
        return loss.detach(), [p.grad.clone() for p in made.parameters()]

    torch.testing.assert_close(step(padded), step(labels))


def test_a_scene_without_objects_wants_only_no_object():
    made = head()
    logits, nothing = answers(made), torch.full((6, 4, 5), -1.0, dtype=torch.float64)
    empty = torch.full((6, QUERIES), CLASSES)
    expected = F.cross_entropy(made.split(logits)[0].transpose(1, 2), empty)
    torch.testing.assert_close(made.loss(logits, nothing), expected)


def test_it_can_learn_scenes_by_heart_and_torchmetrics_agrees():
    torch.manual_seed(0)
    made, fused = SetDetection(8, CLASSES, queries=6, width=32), torch.eye(8)
    labels = scenes(8).float()
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    before = detection_metrics(made.answers(made(fused).logits), labels)["map_50"]
    for _ in range(300):
        optimizer.zero_grad()
        made(fused, labels).loss.backward()
        optimizer.step()
    found = made.answers(made(fused).logits)
    assert detection_metrics(found, labels)["map_50"] > 0.95 > before + 0.5
    assert all((row["scores"].diff() <= 0).all() for row in found)
    sure = made.answers(made(fused).logits, threshold=0.5)
    assert [len(row["labels"]) for row in sure] == (labels[..., 0] >= 0).sum(dim=1).tolist()


def test_queries_begin_at_different_places_inside_the_picture():
    boxes = spread(7).sigmoid()
    assert len(boxes[:, :2].unique(dim=0)) == 7 and ((boxes > 0) & (boxes < 1)).all()


def test_scenes_are_labels_that_it_takes():
    data = EmojiScenes("valid", count=4)
    labels = torch.stack([data[i]["labels"] for i in range(4)])
    made = SetDetection(DIM, len(EmojiScenes.classes))
    made(torch.randn(4, DIM), labels).loss.backward()
    assert all(p.grad.isfinite().all() for p in made.parameters())


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="num_classes is 0"):
        SetDetection(DIM, 0)
    made, fused = head(), torch.randn(2, DIM, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"\(2, objects, 5\)"):
        made(fused, torch.zeros(2, 5))
    with pytest.raises(ValueError, match="6 objects, but there are 5 queries"):
        made(fused, torch.zeros(2, 6, 5))
    with pytest.raises(ValueError, match="class 3; the head knows 0 to 2"):
        made(fused, torch.full((2, 1, 5), 3.0))
    with pytest.raises(ValueError, match="1 answers for 2 samples"):
        detection_metrics(made.answers(made(fused).logits)[:1], torch.zeros(2, 1, 5))
    with pytest.raises(ValueError, match="no sample has an object"):
        detection_metrics(made.answers(made(fused).logits), torch.full((2, 1, 5), -1.0))
