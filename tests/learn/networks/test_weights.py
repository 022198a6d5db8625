"""Weights from files: what fits is loaded and told, what does not fit or cannot be read is an error."""

import pytest

torch = pytest.importorskip("torch")

from alseg_fast.errors import ModelError  # noqa: E402
from alseg_fast.learn.networks.build import build_network  # noqa: E402
from alseg_fast.learn.networks.resnet import resnet18  # noqa: E402
from alseg_fast.learn.networks.weights import load_weights  # noqa: E402


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory):
    """A file as torchvision distributes it: without batch counters, with a classifier."""
    encoder = resnet18()
    encoder.initialise(torch.Generator().manual_seed(5))
    state = {k: v for k, v in encoder.state_dict().items() if not k.endswith("num_batches_tracked")}
    state |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(state, path)
    return path


def test_a_torchvision_file_loads(resnet_file):
    network = build_network(encoder="resnet18", n_tags=2, n_classes=2, weights=resnet_file, seed=0)
    stored = torch.load(resnet_file, weights_only=True)
    report = network.weights_report
    assert len(report.matched) == 100
    assert report.ignored == ("fc.weight", "fc.bias")
    assert report.missing == ()
    assert report.mismatched == {}
    for name in report.matched:
        assert torch.equal(network.encoder.state_dict()[name], stored[name])
    assert str(report).startswith("100 tensors loaded from ")
    assert str(report).endswith("ignored: fc.weight, fc.bias")


def test_wrappers_and_prefixes_are_taken_off(resnet_file, tmp_path):
    stored = torch.load(resnet_file, weights_only=True)
    torch.save({"epoch": 3, "model": {f"module.{k}": v for k, v in stored.items()}}, tmp_path / "a.pth")
    torch.save({"state_dict": {f"encoder.{k}": v for k, v in stored.items()}}, tmp_path / "b.pth")
    for name, prefix in (("a.pth", ""), ("b.pth", "encoder.")):
        encoder = resnet18()
        assert len(load_weights(encoder, tmp_path / name, prefix=prefix, strict=True).matched) == 100
        assert torch.equal(encoder.conv1.weight, stored["conv1.weight"])


def test_what_does_not_fit_is_told_and_kept(tmp_path):
    layer = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 2, 1))
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    torch.save(
        {"0.weight": torch.ones(4, 3, 1, 1), "1.weight": torch.ones(2, 5, 1, 1), "x": torch.ones(1)}, tmp_path / "w"
    )
    report = load_weights(layer, tmp_path / "w")
    assert report.matched == ("0.weight",)
    assert report.missing == ("0.bias", "1.bias")
    assert report.mismatched == {"1.weight": "1.weight [2, 5, 1, 1] in the file, [2, 4, 1, 1] in the network"}
    assert report.ignored == ("x",)
    assert torch.equal(layer[0].weight, torch.ones(4, 3, 1, 1))
    assert torch.equal(layer[1].weight, before["1.weight"])
    with pytest.raises(ModelError, match=r"do not fit the network: 1 tensors .* missing: 0.bias, 1.bias; of another"):
        load_weights(layer, tmp_path / "w", strict=True)


def test_a_file_of_another_architecture_loads_nothing(resnet_file):
    with pytest.raises(ModelError, match=r"do not fit the network: .* missing: layer1\.0\.conv3\.weight"):
        build_network(encoder="resnet50", n_tags=2, n_classes=2, weights=resnet_file)
    with pytest.raises(ModelError, match="do not fit the network: 0 tensors loaded"):
        build_network(encoder="vit_tiny", decoder="none", n_tags=2, n_classes=2, weights=resnet_file)


def test_damaged_files_change_nothing(resnet_file, tmp_path):
    whole = resnet_file.read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pth").write_text("<html>not found</html>")
    (tmp_path / "empty.pth").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 1}, tmp_path / "no.pth")
    bad = torch.load(resnet_file, weights_only=True)
    bad["bn1.weight"][3] = float("nan")
    torch.save(bad, tmp_path / "nan.pth")
    encoder = resnet18()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    for name, message in [
        ("cut.pth", r"cut.pth cannot be read \(.*\); fetch or save the file again"),
        ("text.pth", "text.pth cannot be read"),
        ("empty.pth", "empty.pth cannot be read"),
        ("list.pth", "list.pth hold a list; they must be a state dict"),
        ("no.pth", "no.pth hold no tensors by name"),
        ("nan.pth", "nan.pth hold NaN or infinity in bn1.weight"),
        ("gone.pth", "gone.pth are not there; give the path of a file"),
        (".", "are not there"),
    ]:
        with pytest.raises(ModelError, match=message):
            load_weights(encoder, tmp_path / name)
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())


def test_code_in_a_file_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ModelError, match="cannot be read"):
        load_weights(resnet18(), tmp_path / "trap.pth")
    assert not (tmp_path / "ran").exists()
