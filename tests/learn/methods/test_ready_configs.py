"""The configs that ship: every key known, every option of the method's type, every network buildable."""

import pytest

torch = pytest.importorskip("torch")

from alseg_fast.learn.data.transforms import Augment  # noqa: E402
from alseg_fast.learn.networks.build import build_network  # noqa: E402
from alseg_fast.learn.training.config_file import method_options, read_config, ready_names  # noqa: E402
from alseg_fast.learn.training.recipes import load_recipe  # noqa: E402

NAMES = ("belharbi_cub", "belharbi_glas", "ccp_small", "cosa_coco", "cosa_voc", "glas_small")


def test_these_configs_ship():
    assert tuple(ready_names()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_ready_config_is_whole(name):
    config = read_config(name, ["data.root=anywhere"])
    recipe = load_recipe(config.method)
    options = method_options(recipe.Options, config, name)
    assert options is not None
    wanted = config.network.model_dump()
    wanted |= wanted.pop("options")
    build_network(**wanted, n_tags=2, n_classes=2, seed=0)
    Augment(config.data.size, **config.augment.model_dump(exclude_unset=True))
    needed = {"separated": {"classifier", "segmentation"}, "cosa": {"cosa"}}[config.method]
    assert set(config.stages) == needed


def test_published_numbers_of_belharbi():
    for name, rates, lambda_ in (("belharbi_glas", (1e-4, 0.1), 0.1), ("belharbi_cub", (1e-2, 0.1), 1e-3)):
        config = read_config(name, ["data.root=anywhere"])
        assert (config.stages["classifier"].rate, config.stages["segmentation"].rate) == rates
        options = method_options(load_recipe(config.method).Options, config, name)
        assert options.segmentation.normalisation == "belharbi"
        assert options.segmentation.pseudo_weight.schedule().at(500) == lambda_
        assert {s.momentum for s in config.stages.values()} == {0.9}
        assert {s.weight_decay for s in config.stages.values()} == {1e-4}


@pytest.mark.parametrize(
    ("name", "steps", "warmup", "high"), [("cosa_voc", 32000, 6000, 0.7), ("cosa_coco", 60000, 10000, 0.65)]
)
def test_published_numbers_of_cosa(name, steps, warmup, high):
    config = read_config(name, ["data.root=anywhere"])
    options = method_options(load_recipe(config.method).Options, config, name)
    assert config.stages["cosa"].steps == steps
    assert options.warmup_steps == warmup
    assert (options.threshold.low, options.threshold.high, options.threshold.aux_high) == (0.25, high, 0.7)
    weights = (options.tag_weight, options.aux_tag_weight, options.seg_weight, options.cam_weight)
    assert weights == (1.0, 1.0, 0.1, 0.05)
    assert options.energy.weight == pytest.approx(0.05 * 1e-7)
    assert options.teacher.decay == 0.9994
    assert not options.reliability.use
    assert options.contrastive.weight == 0


def test_rows_of_the_ablation_are_settings_of_ccp_small():
    from alseg_fast.benches.weak_supervision_rows import ROWS, TRAININGS

    by = {}
    for way in TRAININGS:
        config = read_config("ccp_small", ["data.root=anywhere", *way.settings])
        options = method_options(load_recipe("cosa").Options, config, way.key)
        by[way.key] = (options.assign.by, options.reliability.use, options.contrastive.weight > 0)
    assert by == {
        "tags": ("nobody", False, False),
        "labels": ("own", False, False),
        "reliability": ("own", True, False),
        "contrastive": ("own", True, True),
        "swapped": ("teacher", True, True),
    }
    assert {row.training for row in ROWS} == set(by)
