"""Propagation on real pictures with the published recipe: the literal gate, and where it decides nothing."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alseg_fast as alseg

KS = (1, 5, 10, 20, 40)


def glas(data, path):
    """The training pictures with their grade; returns (the ids of each grade)."""
    with open(data / "glas" / "labels.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train" and row["exported"] == "1"]
    rows = [
        {"image_id": r["file"], "uri": str(data / "glas" / "train" / "img" / r["file"]), "label": r["grade"]}
        for r in rows
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return {g: sorted(r["image_id"] for r in rows if r["label"] == g) for g in ("benign", "malignant")}


def published_distances(hist):
    """[n, n] sum over the channels of JSD_c / Z_c, in the words of the publication, on [n, 3, 256] probabilities."""
    p, q = hist[:, None], hist[None]
    m = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        kl = [np.where(a > 0, a * np.log(a / m), 0).sum(axis=3) for a in (p, q)]
    jsd = np.clip((kl[0] + kl[1]) / 2, 0, 1)
    return (jsd / jsd.sum(axis=(0, 1))).sum(axis=2)


def test_the_published_gate_on_glands(real_data, tmp_path):
    classes = glas(real_data, tmp_path / "pool.parquet")
    labelled = [name for ids in classes.values() for name in ids[:4]]
    for k in KS:
        done = alseg.propagate(tmp_path / "pool.parquet", labelled, k=k, out=tmp_path / "out")
        found = {r["image_id"]: r["partner_id"] for r in done.pairs().to_pylist()}
        stored = stored_histograms(tmp_path / "out")
        expected = {}
        for ids in classes.values():
            distances = published_distances(np.stack([stored[i] for i in ids]).reshape(-1, 3, 256).astype(np.float64))
            for u, name in enumerate(ids):
                if name in labelled:
                    continue
                others = [v for v in np.argsort(distances[u], kind="stable") if v != u][:k]
                partner = next((ids[v] for v in others if ids[v] in labelled), None)
                if partner:
                    expected[name] = partner
        assert found == expected
        counts = done.summary["passing_at"]
    # 17 pictures of each grade, 13 of them unlabelled: from k = 13 on nothing is decided any more.
    assert counts[20] == counts[40] == 26
    assert 0 < counts[1] < counts[5] <= 26
    assert "2 of 2 classes" in done.summary["warning"]


def stored_histograms(out):
    found = {}
    for path in (out / "histograms").glob("*.parquet"):
        rows = np.load(path.with_suffix(".npy"))
        found |= {r["image_id"]: rows[r["row"]] for r in pq.read_table(path).to_pylist()}
    return found


@pytest.mark.slow
def test_tags_of_street_fashion(real_data, tmp_path):
    lines = (real_data / "ccp" / "image_tags_derived.tsv").read_text().splitlines()
    photos = {p.stem: p for p in (real_data / "ccp" / "photos").glob("*.jpg")}
    tags = {name: text for name, text in (line.split("\t") for line in lines) if name in photos}
    rows = [{"image_id": n, "uri": str(photos[n]), "label": t} for n, t in sorted(tags.items())]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pool.parquet")
    labelled = sorted(tags)[::10]
    done = alseg.propagate(tmp_path / "pool.parquet", labelled, k=5, out=tmp_path / "out", multi_label=True)
    sizes = {row["class"]: row["size"] for row in done.summary["classes"]}
    assert sizes["null"] == len(rows) == 168
    assert sizes == {t: sum(t in x.split(",") for x in tags.values()) for t in sizes}
    for row in done.summary["classes"]:
        assert list(row["passing_at"].values()) == sorted(row["passing_at"].values())
        if row["labelled"]:
            full = {k: n for k, n in row["passing_at"].items() if k >= row["unlabelled"]}
            assert set(full.values()) <= {row["unlabelled"]}
        else:
            assert row["passing"] == 0
    assert done.summary["certified"] == done.summary["pairs"] > 0
