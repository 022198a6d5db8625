"""CONFIG.yaml and --set: every mistake is one line with the key, the value and what to do."""

import pytest

pytest.importorskip("pydantic")
pytest.importorskip("torch")

from alseg_fast.errors import UsageError
from alseg_fast.learn.training.config import Settings, StageConfig, TrainConfig
from alseg_fast.learn.training.config_file import method_options, read_config, ready_configs, ready_names

GOOD = """
# A config for tests
method: separated
seed: 3
data:
  dataset: glas
  root: /pictures
  size: 64
  labelled: per-class:4
  tags: [benign, malignant]
  weak: {kind: points, options: {n: 3}}
network: {encoder: resnet18, options: {modalities: 4}}
augment: {scale: [1, 1.5], hflip: 0.25}
stages:
  classifier: &base {steps: 100, rate: 1e-4, schedule: step, amp: off}
  segmentation:
    <<: *base
    steps: 5
options: {lambda: 0.1}
"""


@pytest.fixture
def config(tmp_path):
    def write(text=GOOD, *settings):
        path = tmp_path / "CONFIG.yaml"
        path.write_text(text, encoding="utf-8")
        return read_config(str(path), settings)

    return write


@pytest.fixture
def message(config, tmp_path):
    def read(text, *settings):
        with pytest.raises(UsageError) as error:
            config(text, *settings)
        assert "\n" not in str(error.value)
        return str(error.value).replace(f"{tmp_path}/", "")

    return read


def test_a_good_config(config):
    made = config()
    assert made.method == "separated"
    assert made.data.size == (64, 64)
    assert made.data.tags == ("benign", "malignant")
    assert made.augment.scale == (1.0, 1.5)
    assert made.stages["classifier"].rate == 1e-4
    assert made.stages["segmentation"] == made.stages["classifier"].model_copy(update={"steps": 5})
    assert made.stages["classifier"].amp == "off"
    assert made.options == {"lambda": 0.1}


def test_yaml_is_version_1_2(config):
    made = config(GOOD, "data.dataset=no", "data.root=010", "options.x=1e3", "options.y=1_0", "options.z=2024-01-01")
    assert (made.data.dataset, made.data.root) == ("no", "010")
    assert made.options == {"lambda": 0.1, "x": 1000.0, "y": "1_0", "z": "2024-01-01"}


def test_settings_win_and_make_their_parents(config):
    made = config(GOOD, "data.size=[32, 48]", "stages.main.steps=7", "data.tags=null", "options.deep.er=[1, 2]")
    assert made.data.size == (32, 48)
    assert made.data.tags is None
    assert made.stages["main"] == StageConfig(steps=7)
    assert made.options["deep"] == {"er": [1, 2]}


def test_a_setting_changes_one_place_though_yaml_shares_it(config):
    text = GOOD.replace("    <<: *base\n    steps: 5\n", "").replace("segmentation:", "segmentation: *base")
    made = config(text, "stages.segmentation.steps=5")
    assert made.stages["classifier"].steps == 100
    assert made.stages["segmentation"].steps == 5


def test_the_digest_is_of_all_that_decides_the_result(config):
    one = config()
    assert one.digest() == config(GOOD, "out=elsewhere").digest()
    assert one.digest() == config("# words\n" + GOOD).digest()
    assert len({one.digest(), config(GOOD, "seed=4").digest(), config(GOOD, "options.lambda=0.2").digest()}) == 3


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  size: 64", "  sise: 64", "data.sise is not a key; did you mean size?"),
        ("encoder: resnet18", "encodr: x", "network.encodr is not a key; did you mean encoder?"),
        ("steps: 5", "stepz: 5", "stages.segmentation.stepz is not a key; did you mean steps?"),
        (
            "kind: points,",
            "kind: points, zzz: 1,",
            "data.weak.zzz is not a key; the keys are kind, options",
        ),
        ("seed: 3", "sede: 3", "sede is not a key; did you mean seed?"),
        ("method: separated", "", "method is missing; add it, or give --set method=VALUE"),
        ("  root: /pictures", "", "data.root is missing; add it, or give --set data.root=VALUE"),
        ("steps: 100,", "", "stages.classifier.steps is missing; add it, or give --set"),
        ("rate: 1e-4", "rate: 0", "stages.classifier.rate must be greater than 0; got 0"),
        ("rate: 1e-4", "rate: fast", "stages.classifier.rate must be a valid number; got 'fast'"),
        ("rate: 1e-4", "rate: true", "stages.classifier.rate must be a valid number; got True"),
        ("rate: 1e-4", "rate: .nan", "stages.classifier.rate must be a valid number; got '.nan'"),
        ("seed: 3", "seed: 1.5", "seed must be a valid integer; got 1.5"),
        ("seed: 3", "seed: -1", "seed must be greater than or equal to 0; got -1"),
        ("hflip: 0.25", "hflip: true", "augment.hflip must be a valid number; got True"),
        (
            "resnet18",
            "vgg",
            "network.encoder must be light, resnet18, resnet50, vit_tiny or vit_small; got",
        ),
        ("size: 64", "size: 4", "data.size must be greater than or equal to 8; got 4"),
        ("size: 64", "size: [64]", "data.size.1 is missing; add it"),
        (
            "tags: [benign, malignant]",
            "tags: 1.5",
            "data.tags must be a valid integer or a valid tuple; got",
        ),
        (
            "per-class:4",
            "per-class:0",
            "data.labelled must be all, a number, per-class:N or file:PATH; got",
        ),
        ("labelled: per-class:4", "validation: 1.5", "data.validation must be a share between 0 and 1"),
        (
            "labelled: per-class:4",
            "std: [1, 0, 1]",
            "data.std must be greater than 0; got [1.0, 0.0, 1.0]",
        ),
        ("scale: [1, 1.5]", "scale: [2, 1]", "augment.scale must be (least, most); got [2.0, 1.0]"),
        ("steps: 5", "patience: 3", "stages.segmentation.patience needs evaluate_every; got patience = 3"),
        ("steps: 5", "min_rate: 1", "stages.segmentation.min_rate must be at most rate = 0.0001; got 1"),
        (
            "steps: 5",
            "labelled_per_batch: 9",
            "stages.segmentation.labelled_per_batch must be at most batch_size = 8; got 9",
        ),
        ("  classifier:", "  Class ifier:", "stages must have names of small letters"),
        ("seed: 3", "device: gpu", "device must be auto, cpu, cuda or cuda:I; got 'gpu'"),
    ],
)
def test_mistakes_are_told_in_one_line(message, old, new, said):
    assert old in GOOD
    assert message(GOOD.replace(old, new)).startswith(f"CONFIG.yaml: {said}")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("data.sise=3", "--set: data.sise is not a key; did you mean size?"),
        ("seed", "--set must be key.key=value; got 'seed'; write for example --set stages.main.steps=500"),
        ("a..b=3", "--set must be key.key=value; got 'a..b=3'"),
        ("seed=[", "--set seed: '[' is not YAML"),
        ("seed.deep=3", "--set seed.deep: seed is a value, not a mapping of keys"),
        ("stages.classifier.rate=-1", "--set: stages.classifier.rate must be greater than 0; got -1"),
    ],
)
def test_mistakes_in_settings_name_the_setting(message, setting, said):
    assert message(GOOD, setting).startswith(said)


def test_several_mistakes_are_counted(message):
    text = GOOD.replace("seed: 3", "seed: x").replace("  size: 64", "  sise: 64")
    assert message(text).endswith("(1 more after this one)")


def test_files_that_are_no_config(message, tmp_path):
    twice = "CONFIG.yaml is not YAML: the key seed stands twice, again in line 5; correct it"
    assert message(GOOD.replace("seed: 3", "seed: 3\nseed: 4")) == twice
    assert message("method: [").startswith("CONFIG.yaml is not YAML: ")
    assert message("method: !!python/object:os.system x").startswith("CONFIG.yaml is not YAML: could not determine a")
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    assert message(laughs) == "CONFIG.yaml is not YAML: its aliases stand for more than 100,000 values; correct it"
    assert "is not YAML" in message("a: &a [*a]")
    assert message("- a\n- b\n") == "CONFIG.yaml must be a mapping of keys; got list; see alseg train --help"
    assert message("").startswith("CONFIG.yaml must be a mapping of keys; got NoneType")
    assert "is not YAML" in message("a: " + "[" * 5000)
    assert message("# " + "x" * (1 << 20)).startswith("CONFIG.yaml is larger than a config can be")
    (tmp_path / "CONFIG.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not YAML"):
        read_config(str(tmp_path / "CONFIG.yaml"))
    with pytest.raises(UsageError, match=r"cannot read .*nowhere\.yaml: No such file"):
        read_config(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(UsageError, match="cannot read"):
        read_config(str(tmp_path))


def test_unknown_ready_names():
    with pytest.raises(UsageError, match=r"no_such_name is neither a file nor a ready config; "):
        read_config("no_such_name")


@pytest.mark.parametrize("name", ready_names())
def test_ready_configs_are_valid_and_described(name):
    from alseg_fast.learn.training.recipes import load_recipe

    config = read_config(name, ["data.root=/pictures"])
    method_options(load_recipe(config.method).Options, config, name)
    assert ready_configs()[name]


def test_method_options_have_the_methods_type(config):
    class Options(Settings):
        weight: float = 1.0

    assert method_options(Options, config(GOOD, "options={weight: 2}"), "C.yaml").weight == 2.0
    with pytest.raises(UsageError, match=r"C\.yaml: options\.lambda is not a key; the keys are weight"):
        method_options(Options, config(), "C.yaml")
    with pytest.raises(UsageError, match=r"C\.yaml: options\.weight must be a valid number; got 'x'"):
        method_options(Options, config(GOOD, "options={weight: x}"), "C.yaml")


def test_every_part_round_trips_through_json(config):
    made = config()
    assert TrainConfig.model_validate_json(made.model_dump_json()) == made
