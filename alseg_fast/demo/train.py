"""Train the example network on drawn scenes and write it as ONNX.

    python -m alseg_fast.demo.train --out example.onnx

Needs torch and onnx (the ``train`` extra); about 20 minutes on two free cores. The training pictures, their
order, their distortions and the first weights follow from ``--seed`` exactly. The trained weights follow from
it too where torch build, processor and number of threads are the same. Elsewhere convolutions add in another
order, and a difference in the last digit grows over a thousand steps into other weights: the same network, not
the same file. That is why the trained file is part of the package.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from .evaluate import confusion, mean_iou
from .network import INPUT_SIZE, MEAN, SCALE, STD, ExampleNetwork, save_onnx
from .scenes import CLASSES, draw_scene

_TRAIN_SEED, _VALIDATION_SEED = 1_000_000_000, 2_000_000_000  # far from the seeds of any example pool
_SIZES = ((480, 640), (480, 640), (480, 640), (600, 800), (640, 480), (540, 960))
_MILD_SHARE, _MILDEST, _HARDEST_MILD = 0.2, 0.05, 0.35
Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def _draw_example(task: tuple[int, float | None]) -> Arrays:
    """One scene at the network's input size: image [h, w, 3], labels [h, w]. hard None: mostly ordinary."""
    seed, hard = task
    rng = np.random.Generator(np.random.PCG64([seed, 2]))
    if hard is None:
        hard = _MILDEST + (_HARDEST_MILD - _MILDEST) * rng.random() if rng.random() < _MILD_SHARE else 0.0
    scene = draw_scene(seed, size=_SIZES[int(rng.integers(len(_SIZES)))], hard=hard)
    to = (INPUT_SIZE[1], INPUT_SIZE[0])
    smooth = (Image.Resampling.BILINEAR, Image.Resampling.BOX, Image.Resampling.BICUBIC)[int(rng.integers(3))]
    image = Image.fromarray(scene.image).resize(to, smooth)
    labels = Image.fromarray(scene.labels).resize(to, Image.Resampling.NEAREST)
    return np.array(image), np.array(labels)


def draw_set(first_seed: int, n: int, hard: float | None, workers: int) -> tuple[torch.Tensor, torch.Tensor]:
    """n examples: images [n, 3, h, w] uint8 and labels [n, h, w] uint8."""
    images = torch.empty((n, 3, *INPUT_SIZE), dtype=torch.uint8)
    labels = torch.empty((n, *INPUT_SIZE), dtype=torch.uint8)
    tasks = [(first_seed + i, hard) for i in range(n)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
        for i, (image, label) in enumerate(processes.map(_draw_example, tasks, chunksize=16)):
            images[i] = torch.from_numpy(image).permute(2, 0, 1)
            labels[i] = torch.from_numpy(label)
    return images, labels


def normalise(images: torch.Tensor) -> torch.Tensor:
    """(pixel * SCALE - MEAN) / STD, float32."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (images.float() * SCALE - mean) / std


def augment(images: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror half the pictures with their labels; vary brightness, contrast and channel balance of all."""
    n = len(images)
    mirrored = torch.from_numpy(rng.random(n) < 0.5)
    images = torch.where(mirrored.view(n, 1, 1, 1), images.flip(3), images).float()
    labels = torch.where(mirrored.view(n, 1, 1), labels.flip(2), labels).long()
    draw = torch.from_numpy(rng.random((3, n, 3))).float()
    contrast = (0.8 + 0.4 * draw[0, :, :1]).view(n, 1, 1, 1)
    brightness = (40 * (draw[0, :, 1:2] - 0.5)).view(n, 1, 1, 1)
    balance = (0.92 + 0.16 * draw[1]).view(n, 3, 1, 1)
    images = ((images - 128) * contrast + 128 + brightness) * balance
    return images.clamp(0, 255), labels


def train(
    images: torch.Tensor, labels: torch.Tensor, *, steps: int, batch: int, rate: float, seed: int
) -> ExampleNetwork:
    """AdamW with one warm-up and a cosine down to zero, cross-entropy at half the pictures' resolution.

    images: [n, 3, h, w] uint8; labels: [n, h, w] uint8.
    """
    torch.manual_seed(seed)
    rng = np.random.Generator(np.random.PCG64([seed, 3]))
    network = ExampleNetwork()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    order: list[int] = []
    started, running = time.perf_counter(), 0.0
    network.train()
    for step in range(1, steps + 1):
        if len(order) < batch:
            order.extend(int(i) for i in rng.permutation(len(images)))
        chosen, order = order[:batch], order[batch:]
        x, y = augment(images[chosen], labels[chosen], rng)
        logits = network(normalise(x).contiguous(memory_format=torch.channels_last))
        half = y[:, 1::2, 1::2]
        logits = functional.interpolate(logits, half.shape[1:], mode="bilinear", align_corners=False)
        loss = functional.cross_entropy(logits, half)
        optimiser.zero_grad(set_to_none=True)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"train: the loss at step {step} is {float(loss.detach())}; lower --rate")
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        running += float(loss.detach())
        if step % 50 == 0 or step == steps:
            elapsed = time.perf_counter() - started
            print(f"step {step}/{steps} loss {running / (step % 50 or 50):.3f} {elapsed:.0f} s", file=sys.stderr)
            running = 0.0
    network.eval()
    return network


def validate(network: ExampleNetwork, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """(mean IoU, pixel accuracy) at the input's resolution."""
    total = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    with torch.inference_mode():
        for i in range(0, len(images), 16):
            logits = network(normalise(images[i : i + 16]))
            logits = functional.interpolate(logits, INPUT_SIZE, mode="bilinear", align_corners=False)
            for pred, truth in zip(logits.argmax(1).numpy(), labels[i : i + 16].numpy(), strict=True):
                total += confusion(pred, truth, len(CLASSES))
    return mean_iou(total), float(np.trace(total) / total.sum())


def main(argv: list[str] | None = None) -> int:
    """Command line entry; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m alseg_fast.demo.train", description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, help="the ONNX file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, default=3200, help="training pictures to draw")
    parser.add_argument("--steps", type=int, default=1150)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    print(f"drawing {options.scenes} scenes", file=sys.stderr)
    images, labels = draw_set(_TRAIN_SEED + options.seed, options.scenes, None, options.threads)
    network = train(images, labels, steps=options.steps, batch=options.batch, rate=options.rate, seed=options.seed)
    save_onnx(network, options.out)
    for name, hard in (("ordinary", 0.0), ("hard 0.4", 0.4), ("hard 0.8", 0.8)):
        iou, accuracy = validate(network, *draw_set(_VALIDATION_SEED, 128, hard, options.threads))
        print(f"{name}: mean IoU {iou:.3f}, pixel accuracy {accuracy:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
