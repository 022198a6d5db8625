"""An exported network scored by the engine ranks real pictures as its T torch passes do."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting a torch network needs torch")
pytest.importorskip("onnx", reason="exporting a torch network needs onnx")

import alseg_fast as alseg  # noqa: E402
from alseg_fast.demo.network import MEAN, SCALE, STD, ExampleNetwork  # noqa: E402
from alseg_fast.export import stochastic_passes, to_onnx  # noqa: E402
from alseg_fast.runtimes.onnx import load_model  # noqa: E402
from alseg_fast.stages.decode import decode_image  # noqa: E402
from alseg_fast.stages.prepare import decode_at_least, fill, place  # noqa: E402

T, SEED, SIZE = 8, 3, (120, 160)


def prepared(spec, path):
    """[3, H, W] float32 as the engine prepares it."""
    picture = decode_image(path.read_bytes(), min_size=decode_at_least(spec))
    tensor = np.empty((3, *SIZE), np.float32)
    fill(spec, picture.image, place(spec, picture.width, picture.height), tensor)
    return torch.from_numpy(tensor)


def random_network(pictures):
    """Fixed random weights, normalised over real pictures, so that its passes disagree from picture to picture."""
    torch.manual_seed(0)
    network = ExampleNetwork(5, dropout=0.3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(pictures)
        list(network.parameters())[-2].mul_(4)
    return network.eval()


def mutual_information(network, tensor):
    """Mean BALD of one prepared picture [3, H, W] from T separate torch passes, in float64."""
    z = stochastic_passes(network, tensor[None], n_passes=T, seed=SEED)[0].double()
    p = torch.nn.functional.interpolate(z, SIZE, mode="bilinear", align_corners=False).softmax(1)

    def entropy(q, axis):
        return -torch.xlogy(q, q).sum(axis)

    return float((entropy(p.mean(0), 0) - entropy(p, 1).mean(0)).mean())


def test_ranking_by_mutual_information_is_that_of_torch_passes(real_data, tmp_path):
    files = sorted((real_data / "camvid" / "test").glob("*.png"))[::4]
    (tmp_path / "pool.txt").write_text("".join(f"{f}\n" for f in files))
    model = tmp_path / "passes.onnx"
    facts = {"input_size": SIZE, "mean": MEAN, "std": STD, "scale": SCALE, "classes": 5}
    to_onnx(ExampleNetwork(5).eval(), model, **facts)
    spec = load_model(model).spec
    network = random_network(torch.stack([prepared(spec, f) for f in files[:8]]))
    to_onnx(network, model, mc_passes=T, seed=SEED, **facts)
    scorer = alseg.Scorer(model, measures=("mutual_information",), mc_passes=T)
    scorer.score_pool(tmp_path / "pool.txt", tmp_path / "run")
    table = alseg.open_run(tmp_path / "run").scores()
    got = dict(zip(table.column("uri").to_pylist(), table.column("mutual_information_mean").to_pylist(), strict=True))
    assert len(got) == len(files)
    ours = np.array(list(got.values()))
    theirs = np.array([mutual_information(network, prepared(spec, Path(uri.removeprefix("file://")))) for uri in got])
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    assert np.ptp(theirs) > 0.01, "the pictures must differ for a ranking to mean something"
    assert (np.diff(theirs[np.argsort(ours)]) > -2e-6).all()
