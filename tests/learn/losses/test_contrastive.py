"""Contrastive separation against the formula written out in loops."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from alseg_fast.errors import RangeError, ShapeError  # noqa: E402
from alseg_fast.learn.losses.contrastive import contrastive_separation  # noqa: E402


def similarity_of(kind, a, b, eps=1e-5):
    if kind == "dot":
        return a @ b
    if kind == "negative_squared_distance":
        return -((a - b) ** 2).sum()
    return (a / (np.linalg.norm(a) + eps)) @ (b / (np.linalg.norm(b) + eps))


def reference(vectors, labels, perplexity, epsilon, temperature, kind="cosine", scope="image"):
    n, d = vectors.shape[:2]
    rows = vectors.transpose(0, 2, 3, 1).reshape(n, -1, d)
    ids, unsure = labels.reshape(n, -1), perplexity.reshape(n, -1)
    if scope == "batch":
        rows, ids, unsure = rows.reshape(1, -1, d), ids.reshape(1, -1), unsure.reshape(1, -1)
    terms = []
    for x, y, p in zip(rows, ids, unsure, strict=True):
        region = [i for i in range(len(y)) if p[i] <= epsilon and y[i] != 255]
        for a in region:
            positives = [i for i in region if i != a and y[i] == y[a]]
            if not positives:
                continue
            negatives = sum(np.exp(similarity_of(kind, x[a], x[i]) / temperature) for i in region if y[i] != y[a])
            scores = [np.exp(similarity_of(kind, x[a], x[i]) / temperature) for i in positives]
            terms.append(np.mean([-np.log(s / (s + negatives)) for s in scores]))
    return np.mean(terms) if terms else 0.0


def draw(seed, n=2, d=3, size=(4, 5), classes=3):
    rng = np.random.default_rng(seed)
    labels = rng.choice([*range(classes), 255], (n, *size)).astype(np.uint8)
    return rng.normal(size=(n, d, *size)), labels, rng.exponential(size=(n, *size))


def loss_of(vectors, labels, perplexity, epsilon=0.8, temperature=0.5, **options):
    as_tensors = [torch.as_tensor(x) for x in (vectors, labels, perplexity)]
    return contrastive_separation(*as_tensors, epsilon=epsilon, temperature=temperature, **options)


@pytest.mark.parametrize("kind", ["cosine", "dot", "negative_squared_distance"])
@pytest.mark.parametrize("scope", ["image", "batch"])
@pytest.mark.parametrize("seed", range(3))
def test_formula(kind, scope, seed):
    vectors, labels, perplexity = draw(seed)
    expected = reference(vectors, labels, perplexity, 0.8, 0.5, kind, scope)
    assert expected > 0
    loss = loss_of(vectors, labels, perplexity, similarity=kind, scope=scope)
    assert float(loss) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", ["cosine", "dot", "negative_squared_distance"])
def test_gradient(kind):
    vectors, labels, perplexity = draw(5, n=2, size=(2, 3))
    tensor = torch.from_numpy(vectors).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: loss_of(v, labels, perplexity, epsilon=2.0, similarity=kind, scope="batch"), tensor
    )


def test_it_draws_classes_apart():
    vectors, labels, perplexity = draw(6, n=1, size=(6, 6), classes=2)
    tensor = torch.from_numpy(vectors).requires_grad_()
    optimiser = torch.optim.SGD([tensor], lr=20.0)
    first = None
    for _ in range(60):
        optimiser.zero_grad()
        loss = loss_of(tensor, labels, perplexity)
        first = float(loss.detach()) if first is None else first
        loss.backward()
        optimiser.step()
    sure = torch.from_numpy((perplexity <= 0.8) & (labels != 255))
    unit = torch.nn.functional.normalize(tensor.detach(), dim=1).permute(0, 2, 3, 1)[sure]
    ids = torch.from_numpy(labels)[sure]
    same = ids[:, None] == ids
    cosines = unit @ unit.T
    assert float(loss.detach()) < first / 3
    assert cosines[same].mean() > 0.8 > -0.8 > cosines[~same].mean()


def test_a_column_mate_is_a_positive():
    # two pixels of one class in one column, nothing else of that class: the printed "y != j" would find no positive
    labels = np.array([[[1, 0], [1, 255]]], np.uint8)
    vectors = np.random.default_rng(0).normal(size=(1, 2, 2, 2))
    assert float(loss_of(vectors, labels, np.zeros((1, 2, 2)))) > 0


@pytest.mark.parametrize(
    "case", ["every class once", "all ignored", "no pixel sure enough", "infinite perplexity", "one class"]
)
def test_nothing_to_compare_is_zero_with_zero_gradient(case):
    vectors = torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    labels, perplexity = np.array([[[0, 1], [2, 3]]], np.uint8), np.zeros((1, 2, 2))
    if case == "all ignored":
        labels = np.full((1, 2, 2), 255, np.uint8)
    elif case == "no pixel sure enough":
        labels, perplexity = np.ones((1, 2, 2), np.uint8), np.full((1, 2, 2), 9.0)
    elif case == "infinite perplexity":
        labels, perplexity = np.ones((1, 2, 2), np.uint8), np.full((1, 2, 2), np.inf)
    elif case == "one class":
        labels = np.ones((1, 2, 2), np.uint8)
    loss = loss_of(vectors, labels, perplexity)
    loss.backward()
    assert float(loss.detach()) == 0
    assert (vectors.grad == 0).all()


def test_all_zero_maps_are_safe():
    vectors = torch.zeros(1, 3, 4, 4, requires_grad=True)
    labels = torch.arange(16).reshape(1, 4, 4) % 2
    loss = loss_of(vectors, labels, torch.zeros(1, 4, 4))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(np.log(9), rel=1e-5)  # 8 negatives as similar as the positive
    assert (vectors.grad == 0).all()


def test_large_scores_do_not_overflow():
    vectors, labels, perplexity = draw(3)
    loss = loss_of(1e4 * vectors, labels, perplexity, temperature=1e-3, similarity="dot")
    assert torch.isfinite(loss)
    assert float(loss) > 1e6


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_mixed_precision_does_not_reach_the_scores(similarity):
    vectors, labels, perplexity = draw(3)
    vectors = vectors.astype(np.float32)
    plain = loss_of(vectors, labels, perplexity, similarity=similarity)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = loss_of(vectors, labels, perplexity, similarity=similarity)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, plain)


def test_cap_on_anchors_is_a_seeded_draw():
    vectors, labels, perplexity = draw(8, n=1, size=(12, 12))

    def capped(seed):
        return float(
            loss_of(vectors, labels, perplexity, max_anchors=10, generator=torch.Generator().manual_seed(seed))
        )

    assert capped(1) == capped(1) != capped(2)
    whole = float(loss_of(vectors, labels, perplexity, max_anchors=1000))
    many = [capped(seed) for seed in range(200)]
    assert np.mean(many) == pytest.approx(whole, rel=0.05)


def test_below_the_cap_nothing_is_drawn():
    vectors, labels, perplexity = draw(9)
    state = torch.get_rng_state()
    loss_of(vectors, labels, perplexity)
    assert torch.equal(state, torch.get_rng_state())


def test_nan_stays_visible():
    vectors, labels, perplexity = draw(4)
    vectors[0, 0, 0, 0] = np.nan
    labels[0, 0, 0] = 255  # even where it takes no part
    assert loss_of(vectors, labels, perplexity).isnan()
    vectors, labels, perplexity = draw(4)
    perplexity[1, 0, 0] = np.nan
    assert loss_of(vectors, labels, perplexity).isnan()


def test_contrastive_separation_refuses():
    vectors, labels, perplexity = draw(0)
    with pytest.raises(RangeError, match="epsilon must be a positive number; got 0"):
        loss_of(vectors, labels, perplexity, epsilon=0)
    with pytest.raises(RangeError, match="temperature must be a positive number; got -1"):
        loss_of(vectors, labels, perplexity, temperature=-1)
    with pytest.raises(RangeError, match="similarity must be one of"):
        loss_of(vectors, labels, perplexity, similarity="distance")
    with pytest.raises(RangeError, match="max_anchors must be an integer >= 1; got 0"):
        loss_of(vectors, labels, perplexity, max_anchors=0)
    with pytest.raises(RangeError, match=r"labels must hold ids 0\.\.254 or 255; got 300"):
        loss_of(vectors, labels.astype(np.int64) + 45, perplexity)
    with pytest.raises(ShapeError, match="perplexity must have shape"):
        loss_of(vectors, labels, perplexity[:, 1:])
