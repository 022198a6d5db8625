"""A data set of a few drawn pictures: squares are red, discs are blue, on grey noise."""

import csv

import numpy as np
import pytest

SIZE = 48


def draw(seed, things):
    """[48, 48, 3] picture and its mask with the given things: "square" (id 1) or "disc" (id 2)."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(90, 160, (SIZE, SIZE, 3)).astype(np.uint8)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for thing in things:
        y, x = rng.integers(12, SIZE - 12, 2)
        if thing == "square":
            where, colour = (abs(rows - y) < 9) & (abs(columns - x) < 9), (230, 30, 30)
        else:
            where, colour = (rows - y) ** 2 + (columns - x) ** 2 < 81, (30, 30, 230)
        picture[where] = colour
        mask[where] = 1 if thing == "square" else 2
    return picture, mask


@pytest.fixture
def drawn(tmp_path):
    """Writes a manifest of pictures: drawn([("train", ["square"]), ...]) -> its path."""
    from PIL import Image

    def write(rows, *, two_classes=False, masks=True):
        folder = tmp_path / "pictures"
        folder.mkdir(exist_ok=True)
        with open(tmp_path / "pool.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["image_id", "uri", "label", "mask_uri", "split"])
            for i, (split, things) in enumerate(rows):
                picture, mask = draw(i, things)
                mask = (mask > 0).astype(np.uint8) if two_classes else mask
                Image.fromarray(picture).save(folder / f"{i}.png")
                Image.fromarray(mask).save(folder / f"{i}-mask.png")
                where = str(folder / f"{i}-mask.png") if masks else ""
                table.writerow([f"p{i}", str(folder / f"{i}.png"), ",".join(dict.fromkeys(things)), where, split])
        return tmp_path / "pool.csv"

    return write


EIGHT = [("train", ["square"]), ("train", ["disc"])] * 4
FOUR = [("test", ["square"]), ("test", ["disc"])] * 2


@pytest.fixture
def config_of(drawn):
    """A config of a method over the drawn pictures; `two` = one foreground class that both tags mark."""

    def make(method, *, stages, rows=(*EIGHT, *FOUR), two=False, masks=True, **more):
        from alseg_fast.learn.training.config import TrainConfig

        options = {"single_tag": True, "tag_names": ["disc", "square"]} if two else {"tag_names": ["square", "disc"]}
        options["classes"] = ["background", "thing"] if two else ["background", "square", "disc"]
        data = {
            "dataset": "manifest",
            "root": str(drawn(rows, two_classes=two, masks=masks)),
            "options": options,
            "size": 32,
            "validation": None,
            **more.pop("data", {}),
        }
        steps = {name: {"batch_size": 4, "rate": 3e-3, "log_every": 1, **stage} for name, stage in stages.items()}
        values = {"method": method, "data": data, "stages": steps, **more}
        return TrainConfig.model_validate(values)

    return make


class Heard:
    """Listens: the losses of every step, by stage."""

    def __init__(self):
        self.losses = {}

    def start(self, stage, steps, done):
        self.losses.setdefault(stage, [])

    def step(self, stage, done, rate, losses):
        if losses is not None:
            self.losses[stage].append(losses)

    def figures(self, stage, done, figures, best):
        pass

    def finish(self, stage, done, why):
        pass


@pytest.fixture
def train(tmp_path):
    """train(config, out="run") -> (result, what was heard)."""

    def run(config, out="run"):
        from alseg_fast.learn.training.train import run_training

        heard = Heard()
        return run_training(config, tmp_path / out, listeners=[heard]), heard

    return run


@pytest.fixture(autouse=True)
def one_thread():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
