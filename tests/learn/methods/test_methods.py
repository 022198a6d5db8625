"""The methods as the loop sees them: gradients, moving averages, states, and batches with nothing in them."""

import copy
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from alseg_fast.errors import RangeError, UsageError  # noqa: E402
from alseg_fast.learn.data.batch import Batch  # noqa: E402
from alseg_fast.learn.data.transforms import View  # noqa: E402
from alseg_fast.learn.methods.averaging import follow, make_teacher  # noqa: E402
from alseg_fast.learn.methods.classifier import Classifier, ClassifierOptions  # noqa: E402
from alseg_fast.learn.methods.cosa_labels import Thresholds, label_maps  # noqa: E402
from alseg_fast.learn.methods.cosa_method import Cosa  # noqa: E402
from alseg_fast.learn.methods.cosa_options import Options, ReliabilityOptions, ThresholdOptions  # noqa: E402
from alseg_fast.learn.methods.segmentation import Segmentation, SegmentationOptions  # noqa: E402
from alseg_fast.learn.networks.build import build_network  # noqa: E402

SIDE = 32


def make_batch(tags, masks=None, labelled=None, pseudo=None, seed=0):
    """A batch of noise with the given tags [B][K]; masks [B, H, W] or none."""
    generator = torch.Generator().manual_seed(seed)
    n = len(tags)
    rgb = torch.randint(0, 256, (n, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    images = rgb.float() / 127.5 - 1
    nothing = torch.full((n, SIDE, SIDE), 255)
    return Batch(
        image_ids=tuple(f"i{k}" for k in range(n)),
        images=images,
        strong=images * 0.8,
        rgb=rgb,
        tags=torch.tensor(tags, dtype=torch.float32),
        masks=nothing if masks is None else masks,
        labelled=torch.zeros(n, dtype=torch.bool) if labelled is None else torch.tensor(labelled),
        pseudo=torch.zeros(n, dtype=torch.bool) if pseudo is None else torch.tensor(pseudo),
        valid=torch.ones(n, SIDE, SIDE, dtype=torch.bool),
    )


def make_network(seed=0, **changes):
    wanted = {
        "encoder": "light",
        "n_tags": 2,
        "n_classes": 3,
        "pooling": "max",
        "decoder": "largefov",
        "aux_tags": True,
    }
    return build_network(**{**wanted, **changes}, seed=seed)


def make_cosa(network=None, *, single_tag=False, class_of_tag=(1, 2), **changes):
    options = {
        "warmup_steps": 0,
        "head_lr_factor": 1.0,
        "teacher": {"decay": 0.9},
        "assign": {"scales": [1.0], "flip": True},
        "threshold": {"kind": "gmm"},
        "energy": {"weight": 0.0},
        **changes,
    }
    network = network or make_network()
    chosen = Options.model_validate(options)
    teacher = make_teacher(network, chosen.teacher.start, seed=5)
    method = Cosa(
        network, teacher, single_tag=single_tag, class_of_tag=class_of_tag, view=View((SIDE, SIDE)), options=chosen
    )
    method.start()
    return method


def take_steps(method, batches, rate=1e-2):
    groups = [{"params": g["params"], "lr": rate * g["lr_factor"]} for g in method.parameter_groups()]
    optimiser = torch.optim.SGD(groups)
    totals = []
    for step, batch in enumerate(batches):
        optimiser.zero_grad()
        losses = method.losses(batch, step)
        losses.total.backward()
        optimiser.step()
        method.after_step(step)
        totals.append(float(losses.total.detach()))
    return totals


def test_the_total_is_the_sum_of_its_parts():
    method = make_cosa()
    losses = method.losses(make_batch([[1, 0], [0, 1], [1, 1]]), 0)
    assert float(losses.total.detach()) == pytest.approx(sum(float(v) for v in losses.parts.values()), rel=1e-6)
    assert not any(part.requires_grad for part in losses.parts.values())


def test_teacher_is_the_exact_moving_average():
    method = make_cosa()
    expected = [p.detach().clone() for p in method.teacher.parameters()]
    for step in range(3):
        take_steps(method, [make_batch([[1, 0], [0, 1]], seed=step)])
        own = method.network.parameters()
        expected = [0.9 * e + 0.1 * p.detach() for e, p in zip(expected, own, strict=True)]
    for value, wanted in zip(method.teacher.parameters(), expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-7)
        assert not value.requires_grad
    assert not method.teacher.training
    assert method.network.training


@pytest.mark.parametrize("buffers", ["copy", "average"])
def test_buffers_of_the_teacher(buffers):
    network = make_network(norm="batch", aux_tags=False)
    teacher = make_teacher(network)
    before = dict(copy.deepcopy(teacher).named_buffers())
    network.train()
    network(torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
    follow(teacher, network, 0.9, buffers=buffers)
    for name, value in network.named_buffers():
        if buffers == "copy" or not value.is_floating_point():
            wanted = value
        else:
            wanted = 0.9 * before[name] + 0.1 * value
        torch.testing.assert_close(dict(teacher.named_buffers())[name], wanted)
    assert any("running_mean" in name for name, _ in network.named_buffers())


def test_a_teacher_with_separate_heads_shares_the_encoder_only():
    network = make_network()
    teacher = make_teacher(network, "separate_heads", seed=9)
    for (name, own), other in zip(network.named_parameters(), teacher.parameters(), strict=True):
        same = torch.equal(own, other)
        assert same or not name.startswith("encoder."), name
    assert not torch.equal(network.tag_head.classifier.weight, teacher.tag_head.classifier.weight)
    again = make_teacher(network, "separate_heads", seed=9)
    assert torch.equal(again.tag_head.classifier.weight, teacher.tag_head.classifier.weight)


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_a_decay_outside_0_to_1_is_an_error(decay):
    network = make_network(aux_tags=False)
    with pytest.raises(RangeError, match=r"follow: decay must lie in \[0, 1\]"):
        follow(make_teacher(network), network, decay)


def test_targets_send_no_gradient_to_the_teacher_and_the_trained_network_learns():
    method = make_cosa()
    method.losses(make_batch([[1, 0], [0, 1]]), 0).total.backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    touched = {name.split(".")[0] for name, p in method.network.named_parameters() if p.grad is not None}
    assert touched == {"encoder", "tag_head", "aux_head", "decoder"}


def test_warm_up_leaves_the_segmentation_alone():
    method = make_cosa(warmup_steps=3)
    losses = method.losses(make_batch([[1, 0], [0, 1]]), 2)
    assert set(losses.parts) == {"tags", "aux_tags"}
    losses.total.backward()
    assert all(p.grad is None or not p.grad.any() for p in method.network.decoder.parameters())


@pytest.mark.parametrize("tags", [[[1, 0], [1, 0]], [[0, 0], [0, 0]], [[0, 0], [1, 1]]], ids=["one", "none", "some"])
@pytest.mark.parametrize("by", ["teacher", "own"])
def test_cosa_on_batches_of_one_class_and_of_unknown_tags(tags, by):
    method = make_cosa(assign={"scales": [1.0], "flip": False, "by": by})
    totals = take_steps(method, [make_batch(tags, seed=s) for s in range(2)])
    assert all(total == total and total < 100 for total in totals)
    assert all(bool(torch.isfinite(p).all()) for p in method.network.parameters())
    assert method.network.training


def test_cosa_with_all_zero_maps_learns_nothing_from_them():
    network = make_network()
    with torch.no_grad():
        for head in (network.tag_head, network.aux_head):
            head.classifier.weight.zero_()
    method = make_cosa(network)
    losses = method.losses(make_batch([[1, 0], [0, 1]]), 0)
    assert float(losses.parts["cam_to_seg"]) == 0
    assert float(losses.parts["contrastive"]) == 0
    assert method.main.running.threshold == pytest.approx(0.45)
    losses.total.backward()


@pytest.mark.parametrize("pooling", ["max", "average", "wildcat", "acol"])
def test_cosa_on_two_classes_is_one_foreground_logit(pooling):
    network = make_network(n_classes=2, pooling=pooling, aux_tags=False)
    method = make_cosa(network, single_tag=True, class_of_tag=(1, 1), energy={"weight": 0.05})
    totals = take_steps(method, [make_batch([[1, 0], [0, 1]], seed=s) for s in range(2)])
    assert all(total == total for total in totals)
    assert method.network(make_batch([[1, 0]]).images).seg_logits.shape[1] == 1


def test_labels_where_no_pixel_reaches_the_threshold():
    cams = torch.full((1, 2, 4, 4), 0.1)
    tags, valid = torch.tensor([[1.0, 0.0]]), torch.ones(1, 8, 8, dtype=torch.bool)
    thresholds = Thresholds(ThresholdOptions(low=0.3, high=0.7), low=0.3, high=0.7)
    found = label_maps(cams * tags[:, :, None, None], tags, valid, thresholds, (1, 2), ReliabilityOptions())
    assert (found.classes == 0).all()
    assert found.weights.mean() == pytest.approx(1)
    assert torch.isfinite(found.perplexity).all()


def test_labels_name_classes_bands_and_padding():
    cams = torch.zeros(1, 2, 1, 4)
    cams[0, 1] = torch.tensor([[0.1, 0.5, 0.9, 0.9]])
    valid = torch.tensor([[[True, True, True, False]]])
    thresholds = Thresholds(ThresholdOptions(low=0.3, high=0.7), low=0.3, high=0.7)
    found = label_maps(cams, torch.tensor([[0.0, 1.0]]), valid, thresholds, (5, 3), ReliabilityOptions())
    assert found.tags[0, 0].tolist() == [0, 255, 2, 255]
    assert found.classes[0, 0].tolist() == [0, 255, 3, 255]
    assert found.weights[0, 0, 3] == 0
    unknown = label_maps(cams, torch.zeros(1, 2), valid, thresholds, (5, 3), ReliabilityOptions())
    assert (unknown.classes == 255).all()


def test_state_of_cosa_survives_a_checkpoint():
    import io

    batches = [make_batch([[1, 0], [0, 1]], seed=s) for s in range(4)]
    method = make_cosa()
    take_steps(method, batches[:2])
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    other = make_cosa(make_network(seed=7))
    other.load_state_dict(torch.load(file, weights_only=True))
    totals = []
    for one in (method, other):
        torch.manual_seed(3)
        totals.append(take_steps(one, batches[2:]))
    assert totals[0] == totals[1]
    assert method.main.running.threshold == other.main.running.threshold


def test_frozen_parts_get_no_gradient_and_no_place_in_the_optimiser():
    network = make_network(n_classes=2, decoder="unet", aux_tags=False).freeze_classifier()
    method = Segmentation(network, view=View((SIDE, SIDE)), options=SegmentationOptions())
    method.start()
    chosen = {id(p) for group in method.parameter_groups() for p in group["params"]}
    assert chosen == {id(p) for p in network.segmentation_parameters()}
    masks = torch.randint(0, 2, (2, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    before = copy.deepcopy(network.encoder.state_dict())
    totals = take_steps(method, [make_batch([[1, 0], [0, 1]], masks, [True, True])] * 8, rate=0.3)
    assert totals[-1] < totals[0]
    assert all(torch.equal(before[k], v) for k, v in network.encoder.state_dict().items())


def test_the_pixel_loss_weighs_pseudo_masks_by_lambda():
    network = make_network(n_classes=2, decoder="unet", aux_tags=False, n_tags=0)
    masks = torch.randint(0, 2, (2, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    each = {}
    for kind in ("pixels", "own", "belharbi"):
        options = SegmentationOptions.model_validate({"normalisation": kind, "pseudo_weight": {"start": 0.25}})
        method = Segmentation(network, view=View((SIDE, SIDE)), options=options)
        network.eval()
        for name, labelled in (("both", [True, True]), ("one", [True, False])):
            batch = make_batch([[1, 0]] * 2, masks, labelled, [not v for v in labelled])
            each[kind, name] = float(method.losses(batch, 0).total.detach())
    outputs = network(make_batch([[1, 0]] * 2).images).seg_logits
    bce = torch.nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], masks.float(), reduction="none")
    first, second = bce.mean((1, 2)).tolist()
    assert each["pixels", "both"] == pytest.approx((first + second) / 2, rel=1e-5)
    assert each["pixels", "one"] == pytest.approx((first + 0.25 * second) / 2, rel=1e-5)
    assert each["belharbi", "one"] == pytest.approx((first + 0.25 * second) / 2, rel=1e-5)
    assert each["own", "one"] == pytest.approx(first + 0.25 * second, rel=1e-5)


def test_a_batch_without_any_label_has_loss_0_and_a_gradient():
    method = Segmentation(
        make_network(n_classes=2, decoder="unet", aux_tags=False),
        view=View((SIDE, SIDE)),
        options=SegmentationOptions(),
    )
    losses = method.losses(make_batch([[1, 0]]), 0)
    assert float(losses.total.detach()) == 0
    losses.total.backward()
    classifier = Classifier(
        make_network(decoder="none", aux_tags=False),
        single_tag=False,
        view=View((SIDE, SIDE)),
        options=ClassifierOptions(),
    )
    assert float(classifier.losses(make_batch([[0, 0]]), 0).total.detach()) == 0


def test_methods_say_which_part_a_network_lacks():
    view = View((SIDE, SIDE))
    batch = make_batch([[1, 0], [0, 1]])
    tagless = make_network(n_tags=0, decoder="unet", aux_tags=False)
    with pytest.raises(UsageError, match="network must have a tag head"):
        Classifier(tagless, single_tag=False, view=view, options=ClassifierOptions()).losses(batch, 0)
    plain = make_network(decoder="none", aux_tags=False)
    with pytest.raises(UsageError, match="network must have a decoder"):
        Segmentation(plain, view=view, options=SegmentationOptions()).losses(batch, 0)
    with pytest.raises(UsageError, match="cosa: network must have a tag head and a decoder"):
        make_cosa(plain).losses(batch, 0)


def test_equivariance_is_0_without_tags():
    options = ClassifierOptions.model_validate({"equivariance_weight": 1.0})
    method = Classifier(
        make_network(decoder="none", aux_tags=False), single_tag=False, view=View((SIDE, SIDE)), options=options
    )
    parts = method.losses(make_batch([[0, 0], [0, 0]]), 0).parts
    assert float(parts["equivariance"]) == 0
    batch = replace(make_batch([[1, 0], [0, 1]]), strong=torch.zeros(2, 3, SIDE, SIDE))
    assert float(method.losses(batch, 0).parts["equivariance"]) > 0


def test_equivariance_of_a_transformer_takes_whole_patches():
    network = make_network(encoder="vit_tiny", decoder="none", aux_tags=False, patch=8)
    options = ClassifierOptions.model_validate({"equivariance_weight": 1.0})
    method = Classifier(network, single_tag=False, view=View((SIDE, SIDE)), options=options)
    with torch.no_grad():
        network.tag_head.classifier.weight.normal_(
            generator=torch.Generator().manual_seed(0)
        )  # maps that are positive somewhere
    assert float(method.losses(make_batch([[1, 0], [0, 1]]), 0).parts["equivariance"]) > 0
