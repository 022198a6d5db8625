"""A folder in the layout of GlaS, drawn on the spot: bright discs on a dark ground, red ones are malignant."""

import numpy as np
from PIL import Image


def draw_glas(folder, n_train=10, n_test=4, size=(40, 48)):
    """train_1.bmp ..., testA_1.bmp ... with masks and Grade.csv; half of them benign."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["name, patient ID, grade (GlaS)"]
    names = [f"train_{i + 1}" for i in range(n_train)] + [f"testA_{i + 1}" for i in range(n_test)]
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        malignant = number % 2
        picture = rng.integers(0, 90, (*size, 3), dtype=np.uint8)
        y, x = np.mgrid[: size[0], : size[1]]
        disc = (y - rng.integers(12, 28)) ** 2 + (x - rng.integers(12, 36)) ** 2 < 81
        picture[disc] += np.array([150, 40, 40] if malignant else [90, 140, 90], np.uint8)
        Image.fromarray(picture).save(folder / f"{name}.bmp")
        Image.fromarray(disc.astype(np.uint8) * 3).save(folder / f"{name}_anno.bmp")
        rows.append(f"{name}, {number // 2}, {('benign', 'malignant')[malignant]}")
    (folder / "Grade.csv").write_text("\n".join(rows) + "\n")
    return folder
