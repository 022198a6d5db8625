import numpy as np
import pytest

pytest.importorskip("torch")

from alseg_fast.errors import RunError, UsageError
from alseg_fast.simulation.config import CostConfig
from alseg_fast.simulation.costs import Cost, mask_cost, pixel_cost
from alseg_fast.simulation.run import run_simulation
from alseg_fast.simulation.steps import Steps, seed_of
from alseg_fast.stages.own_directory import locked
from tiny_glas import draw_glas
from tiny_simulation import config


def test_a_step_is_done_once(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return {"value": (1, 2)}

    first = Steps(tmp_path).do("a", make)
    steps = Steps(tmp_path)
    # A tuple comes back as a list the first time too: every start sees the same values.
    assert steps.do("a", make) == first == {"value": [1, 2]}
    assert len(calls) == 1
    assert set(steps.seconds) == {"a"}


def test_a_step_that_fails_is_done_again(tmp_path):
    def fail():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        Steps(tmp_path).do("a", fail)
    assert Steps(tmp_path).do("a", lambda: {"n": 1}) == {"n": 1}


def test_a_damaged_step_is_named(tmp_path):
    Steps(tmp_path).do("a", dict)
    (tmp_path / "steps/a.json").write_text('{"seconds": 1')
    with pytest.raises(RunError, match=r"a\.json is damaged; delete it"):
        Steps(tmp_path).do("a", dict)
    with pytest.raises(UsageError, match="name must be letters"):
        Steps(tmp_path).do("../a", dict)


def test_command_lines_are_those_of_all_steps(tmp_path):
    for _ in range(2):
        steps = Steps(tmp_path)
        steps.do("a", lambda: {"commands": ["alseg score x"]})
        steps.do("b", lambda: {"commands": ["alseg select x", "alseg select y"]})
        steps.write_commands()
    text = (tmp_path / "commands.txt").read_text()
    assert text == "alseg score x\nalseg select x\nalseg select y\n"


def test_seeds_differ_by_name():
    assert len({seed_of(0, "a"), seed_of(1, "a"), seed_of(0, "b"), seed_of(0, "a", 1)}) == 4
    assert seed_of(3, "training") == seed_of(3, "training") < 2**31


def test_cost_of_a_whole_mask():
    mask = np.zeros((20, 30), np.uint8)
    mask[2:8, 2:12] = 1  # 32 pixel edges
    mask[12:14, 20:22] = 1  # 8
    mask[19, 29] = 255
    cost = mask_cost(mask, CostConfig())
    # One pixel is not labelled; its own border counts too.
    assert cost == Cost(599, max((32 + 8 + 2) / 10, 6.0), 2 * 78.0)
    assert mask_cost(mask, CostConfig(mask_seconds=5400.0, pixels_per_click=1.0)) == Cost(599, 42.0, 5400.0)
    assert mask_cost(np.zeros((4, 4), np.uint8), CostConfig()) == Cost(16, 0.0, 0.0)


def test_cost_of_pixels_and_sums():
    asked = CostConfig(pixel_clicks=2.0, pixel_seconds=0.5)
    assert pixel_cost(10, 8, asked) == Cost(8, 20.0, 5.0)
    assert Cost.total([Cost(1, 2.0, 3.0), {"pixels": 1, "clicks": 0.5, "seconds": 0.0}]) == Cost(2, 2.5, 3.0)
    assert Cost.total([]) == Cost()


def test_a_directory_in_use_is_refused(tmp_path):
    pictures = draw_glas(tmp_path / "glas", 10, 3)
    with locked(tmp_path / "out"), pytest.raises(RunError, match="another process is writing"):
        run_simulation(config("images", pictures), tmp_path / "out")


def test_what_the_data_must_have(tmp_path):
    pictures = draw_glas(tmp_path / "glas", 10, 3)
    asked = config("images", pictures)
    without = asked.model_copy(update={"data": asked.data.model_copy(update={"validation": None})})
    with pytest.raises(UsageError, match=r"threshold: validation needs data\.validation"):
        run_simulation(without, tmp_path / "a")
    (pictures / "train_1_anno.bmp").write_bytes(b"BM")
    told = []
    rows = run_simulation(asked.model_copy(update={"rounds": 1}), tmp_path / "b", tell=told.append)
    assert len(rows) == 1  # an unreadable mask leaves its image out
