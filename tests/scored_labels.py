"""Does `alseg score --maps` give the label map that torch gives? For any network that can be exported."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.nn import functional as F

from alseg_fast.cli import main
from alseg_fast.learn.networks.export import export_network

BACKGROUND = 0.45  # beside activation maps


def torch_labels(network, head, image, *, size, mean, std, present=None):
    """[H, W] arg-max label of a picture [H, W, 3] uint8 with nothing but torch.

    Args:
        size: (h, w) the network sees.
        present: [K] which tags are in the picture, for head "cam"; None: all may be.
    """
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    seen = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    seen = (seen - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    module = network.scorer(head)
    was_training = module.training
    with torch.no_grad():
        scores = module.eval()(seen)
    module.train(was_training)
    if head == "cam":
        cams = scores.relu()
        cams = cams / cams.amax(dim=(2, 3), keepdim=True).clamp_min(1e-5)
        if present is not None:
            cams = cams * torch.as_tensor(present, dtype=cams.dtype)[:, None, None]
        scores = torch.cat([torch.full_like(cams[:, :1], BACKGROUND), cams], dim=1)
    full = F.interpolate(scores, size=image.shape[:2], mode="bilinear", align_corners=False)[0]
    labels = (full[0] >= 0).long() if len(full) == 1 else full.argmax(dim=0)
    return labels.numpy()


def label_agreement(network, head, images, folder, *, size, classes, mean, std, tags=None, score=()):
    """Export, score with the command, compare: ([n] share of equal labels of each picture, all torch labels).

    Args:
        images: [H, W, 3] uint8 each.
        folder: where pictures, model and RUN go.
        tags: names of the classes of each picture, for head "cam"; None: unknown.
        score: further words for `alseg score`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    export_network(network, folder / f"{head}.onnx", head=head, input_size=size, classes=classes, mean=mean, std=std)
    ids = [f"picture-{i}" for i in range(len(images))]
    for name, image in zip(ids, images, strict=True):
        Image.fromarray(image).save(folder / f"{name}.png")
    columns = {"image_id": ids, "uri": [f"{name}.png" for name in ids]}
    if tags is not None:
        columns["label"] = pa.array(tags, pa.list_(pa.string()))
    pq.write_table(pa.table(columns), folder / "pool.parquet")
    run = folder / f"run-{head}"
    words = ["score", folder / "pool.parquet", "--model", folder / f"{head}.onnx", "--out", run, "--maps", *score]
    assert main([str(word) for word in words]) == 0
    shares, wanted = [], []
    for i, (name, image) in enumerate(zip(ids, images, strict=True)):
        with Image.open(run / "maps" / "labels" / f"{name}.png") as stored:
            labels = np.asarray(stored)
        present = None if tags is None or not tags[i] else [int(c in tags[i]) for c in classes]
        wanted.append(torch_labels(network, head, image, size=size, mean=mean, std=std, present=present))
        assert labels.shape == wanted[-1].shape
        shares.append((labels == wanted[-1]).mean())
    return np.array(shares), wanted
