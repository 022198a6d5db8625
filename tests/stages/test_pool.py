"""open_pool: every kind of pool, stable ids, and one-line errors."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg_fast.errors import PoolError
from alseg_fast.stages.fetch import fetch_bytes
from alseg_fast.stages.pool import Pool, open_pool
from alseg_fast.stages.readers import listing
from alseg_fast.stages.readers import tar as tar_reader
from alseg_fast.stages.readers.listing import SCHEMA, check_table
from alseg_fast.stages.readers.tar_index import TarError, iter_members
from alseg_fast.stages.readers.uris import encode_name, id_of, join_tar, local_path, split_tar, uri_of_path

JPEG = b"\xff\xd8\xff\xe0 picture "
ODD_IMAGES = Path(__file__).resolve().parents[2] / "../shared/data/odd_images"


def fill(root: Path, *names: str) -> Path:
    """Files whose content is a JPEG signature and their own name."""
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(JPEG + name.encode(errors="surrogateescape"))
    return root


def ids(pool: Pool) -> list[str]:
    return pool.table["image_id"].to_pylist()


def contents(pool: Pool) -> list[bytes]:
    rows = pool.table.select(["uri", "offset", "size"]).to_pylist()
    return [fetch_bytes(row["uri"], row["offset"], row["size"]) for row in rows]


def refused(source: object, text: str, **options: object) -> str:
    """Opens the pool, expects a PoolError of one line that contains text."""
    with pytest.raises(PoolError) as error:
        open_pool(source, **options)
    message = str(error.value)
    assert text in message
    assert "\n" not in message
    return message


@pytest.fixture
def memory():
    file_system = fsspec.filesystem("memory")
    file_system.store.clear()
    file_system.pseudo_dirs[:] = [""]
    yield file_system
    file_system.store.clear()


# -------------------------------------------------------------------------------------------------- directory


def test_directory_is_listed_recursively_in_the_order_of_ids(tmp_path):
    fill(tmp_path, "b.jpg", "a/z.PNG", "a/deep/er/x.tif", "a-1.jpeg", "Z.webp", "a.jpg")
    fill(tmp_path, "notes.txt", "a/labels.json", ".hidden.jpg", ".git/x.jpg")
    pool = open_pool(tmp_path)
    assert ids(pool) == ["Z.webp", "a-1.jpeg", "a.jpg", "a/deep/er/x.tif", "a/z.PNG", "b.jpg"]
    assert pool.kind == "directory"
    assert len(pool) == 6
    assert pool.skipped_files == 3
    assert set(pool.skipped_examples) == {"notes.txt", "a/labels.json", ".hidden.jpg"}
    assert pool.table.schema.equals(SCHEMA)
    assert pool.table["uri"].to_pylist()[0] == str(tmp_path / "Z.webp")
    assert pool.table["offset"].null_count == 6
    assert contents(pool)[1] == JPEG + b"a-1.jpeg"


def test_files_without_known_extension_are_judged_by_their_signature(tmp_path):
    fill(tmp_path, "photo", "scan.bin", "label.txt")
    (tmp_path / "model.weights").write_bytes(bytes(100))
    (tmp_path / "empty").write_bytes(b"")
    pool = open_pool(tmp_path)
    assert ids(pool) == ["photo", "scan.bin"]
    assert pool.skipped_files == 3


def test_same_pool_from_relative_path_and_file_url(tmp_path, monkeypatch):
    fill(tmp_path, "pool/a.jpg", "pool/b c#ü.jpg")
    absolute = open_pool(tmp_path / "pool")
    monkeypatch.chdir(tmp_path)
    for source in ("pool", "./pool/", f"file://{tmp_path}/pool", f"local://{tmp_path}/pool"):
        pool = open_pool(source)
        assert pool.table.equals(absolute.table)
        assert pool.source == source
        assert pool.digest() == absolute.digest()


def test_odd_names_are_kept_and_can_be_fetched(tmp_path):
    names = ["with blank.jpg", "#hash.jpg", "50%.jpg", "ünï.jpg", "a::b.jpg", "b[1].jpg", "{x}.jpg", "q?.jpg"]
    fill(tmp_path, *names)
    pool = open_pool(tmp_path)
    assert ids(pool) == sorted(names)
    assert contents(pool) == [JPEG + name.encode() for name in sorted(names)]


def test_names_that_are_not_utf8_or_hold_line_breaks_are_percent_encoded(tmp_path):
    raw = [os.fsdecode(b"caf\xe9%.jpg"), "two\nlines.jpg", "plain%41.jpg"]
    fill(tmp_path, *raw)
    pool = open_pool(tmp_path)
    assert ids(pool) == ["caf%E9%25.jpg", "plain%41.jpg", "two%0Alines.jpg"]
    assert contents(pool) == [JPEG + os.fsencode(name) for name in (raw[0], raw[2], raw[1])]


def test_folder_with_an_odd_name_works_for_every_kind(tmp_path):
    root = tmp_path / os.fsdecode(b"\xff%")
    fill(root, "a.jpg", "b.jpg")
    (root / "list.txt").write_text("a.jpg\nb.jpg\n")
    (root / "manifest.csv").write_text("image_id,uri\nx,a.jpg\ny,./b.jpg\n")
    write_tar(root / "s.tar", {"a.jpg": JPEG + b"a.jpg", "b.jpg": JPEG + b"b.jpg"})
    for source in (root, root / "*.jpg", root / "list.txt", root / "manifest.csv", root / "s.tar"):
        assert contents(open_pool(source)) == [JPEG + b"a.jpg", JPEG + b"b.jpg"], source


@given(st.binary(min_size=1, max_size=30))
def test_names_are_encoded_reversibly(raw):
    path = "/" + os.fsdecode(raw.replace(b"\x00", b"x"))
    uri = uri_of_path(path)
    uri.encode()  # valid UTF-8
    assert not any(ord(character) < 32 for character in uri)
    assert os.path.lexists(path) or local_path(uri) == path


def test_symbolic_links_are_followed_once_and_loops_end(tmp_path):
    fill(tmp_path, "pool/real/a.jpg", "outside/b.jpg")
    pool = tmp_path / "pool"
    (pool / "loop").symlink_to(pool)
    (pool / "real/up").symlink_to(pool)
    (pool / "again").symlink_to(pool / "real")
    (pool / "linked").symlink_to(tmp_path / "outside")
    (pool / "linked2").symlink_to(tmp_path / "outside")
    (pool / "c.jpg").symlink_to(tmp_path / "outside/b.jpg")
    (pool / "self.jpg").symlink_to(pool / "self.jpg")
    (pool / "broken.jpg").symlink_to(pool / "nowhere")
    (pool / "broken").symlink_to(pool / "nowhere")
    opened = open_pool(pool)
    assert ids(opened) == ["broken.jpg", "c.jpg", "linked/b.jpg", "real/a.jpg", "self.jpg"]
    assert {"loop/", "again/", "real/up/", "linked2/", "broken"} == set(opened.skipped_examples)


def test_many_links_to_one_another_do_not_multiply(tmp_path):
    folders = [tmp_path / f"d{number}" for number in range(12)]
    for folder in folders:
        fill(folder, "x.jpg")
    for folder in folders:
        for other in folders:
            (folder / f"to-{other.name}").symlink_to(other)
    assert len(open_pool(tmp_path)) == 12
    assert len(open_pool(tmp_path / "**/*.jpg")) == 12


def test_pipes_and_sockets_are_passed_over(tmp_path):
    fill(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    for source in (tmp_path, tmp_path / "*"):
        pool = open_pool(source)
        assert ids(pool) == ["a.jpg"]
        assert pool.skipped_files == 2


def test_unreadable_folder_is_an_error(tmp_path, monkeypatch):
    fill(tmp_path, "a.jpg", "locked/b.jpg")
    scandir = os.scandir

    def deny(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    message = refused(tmp_path, f"cannot read folder {tmp_path}/locked: Permission denied")
    assert message.endswith("make it readable or take it out of the pool")
    refused(tmp_path / "**/*.jpg", f"cannot read folder {tmp_path}/locked: Permission denied")
    assert ids(open_pool(tmp_path / "*.jpg")) == ["a.jpg"]


def test_missing_empty_and_senseless_sources(tmp_path):
    refused(tmp_path / "nowhere", "pool does not exist")
    refused(tmp_path, "no images")
    fill(tmp_path, "notes.txt", "one.jpg")
    (tmp_path / "one.jpg").rename(tmp_path / "sub.jpg")
    refused(tmp_path / "sub.jpg", "pool is a single image")
    (tmp_path / "sub.jpg").unlink()
    refused(tmp_path, "passed over 1 other files: notes.txt")
    (tmp_path / "model.onnx").write_bytes(b"x")
    refused(tmp_path / "model.onnx", "pool is a file of no known kind")
    refused("", "no path or URL")
    refused("a\x00b", "no path or URL")
    (tmp_path / "x.tar").write_bytes(bytes(1024))
    refused(tmp_path, "DIR/*.tar")
    os.mkfifo(tmp_path / "pipe.txt")
    refused(tmp_path / "pipe.txt", "not a regular file")


def test_large_folders_are_listed_in_batches_into_compact_columns(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "_BATCH_ROWS", 100)
    for number in range(5):
        fill(tmp_path, *(f"d{number}/{file:04}.jpg" for file in range(150)))
    pool = open_pool(tmp_path)
    assert len(pool) == 750
    assert ids(pool) == sorted(ids(pool))
    assert pool.table.nbytes < 750 * (2 * len(str(tmp_path)) + 80)


# ------------------------------------------------------------------------------------------------------- glob


def test_globs_match_as_in_a_shell(tmp_path):
    fill(tmp_path, "a/img/1.jpg", "a/img/2.png", "b/img/1.jpg", "b/other/1.jpg", "c.jpg", "a/img/.h.jpg", "a/x.txt")
    cases = {
        "*/img/*.jpg": ["a/img/1.jpg", "b/img/1.jpg"],
        "**/*.jpg": ["a/img/1.jpg", "b/img/1.jpg", "b/other/1.jpg", "c.jpg"],
        "**": ["a/img/1.jpg", "a/img/2.png", "b/img/1.jpg", "b/other/1.jpg", "c.jpg"],
        "a/**/?.*": ["img/1.jpg", "img/2.png"],
        "[bc]*": ["c.jpg"],
        "{a,b}/img/1.*": ["a/img/1.jpg", "b/img/1.jpg"],
        "{a/img,a/img,*/img}/1.jpg": ["a/img/1.jpg", "b/img/1.jpg"],
        "a/img/{1..2}.{jpg,png}": ["1.jpg", "2.png"],
    }
    for pattern, expected in cases.items():
        pool = open_pool(tmp_path / pattern)
        assert ids(pool) == expected, pattern
        assert pool.kind == "glob"
    assert open_pool(tmp_path / "a/*/*").skipped_files == 0
    refused(tmp_path / "*.tiff", "no images")
    refused(tmp_path / "{a,b", "unbalanced braces")
    refused(tmp_path / "{0..99999999999}.jpg", "more than 1,000,000 names")
    refused(tmp_path / "{0..9999}{0..9999}.jpg", "more than 1,000,000 names")


def test_existing_names_with_pattern_characters_are_taken_literally(tmp_path):
    fill(tmp_path, "set[1]/a.jpg", "set1/b.jpg", "{x}/c.jpg")
    assert ids(open_pool(tmp_path / "set[1]")) == ["a.jpg"]
    assert ids(open_pool(tmp_path / "{x}")) == ["c.jpg"]


# ------------------------------------------------------------------------------------------------------- list


def test_list_keeps_its_order_and_skips_comments(tmp_path, memory):
    fill(tmp_path, "lists/in side.jpg", "img/b.jpg", "img/a#1.jpg", "#odd.jpg")
    memory.pipe("/bucket/m.jpg", JPEG + b"m")
    lines = [
        "\ufeff# comment", "", "   ", "../img/b.jpg", " in side.jpg ", f"{tmp_path}/img/a#1.jpg", "#../img/b.jpg",
        "memory://bucket/m.jpg", f"file://{tmp_path}/#odd.jpg", f"{tmp_path}/lists/./in side.jpg.missing",
    ]  # fmt: skip
    (tmp_path / "lists/pool.txt").write_text("\r\n".join(lines))
    pool = open_pool(tmp_path / "lists/pool.txt")
    assert pool.kind == "list"
    outside = str(tmp_path).lstrip("/")
    assert ids(pool) == [
        "img/b.jpg", "in side.jpg", f"{outside}/img/a#1.jpg", "bucket/m.jpg", f"{outside}/#odd.jpg",
        "in side.jpg.missing",
    ]  # fmt: skip
    got = [fetch_bytes(uri) for uri in pool.table["uri"].to_pylist()[:5]]
    assert got == [JPEG + name for name in (b"img/b.jpg", b"lists/in side.jpg", b"img/a#1.jpg", b"m", b"#odd.jpg")]


def test_list_errors_name_the_line(tmp_path):
    pool = tmp_path / "pool.txt"
    pool.write_bytes(b"# nothing\n\n")
    refused(pool, "no images")
    pool.write_bytes(b"a.jpg\n\xff\xd8\x00\x01")
    refused(pool, "line 2 is not a path or URL")
    pool.write_bytes(b"a" * 100_000)
    refused(pool, "line 1 is not a path or URL")
    pool.write_text("a.jpg\nb.jpg\n./a.jpg\n")
    refused(pool, "duplicate image_id 'a.jpg'")
    pool.write_text("../a.jpg\na.jpg\n")
    refused(pool, "duplicate image_id 'a.jpg'")
    pool.write_text("..\n")
    refused(pool, "image_id '..' of entry 1")
    pool.write_text("ssh://host/a.jpg\n")
    refused(pool, "scheme ssh:// is not allowed")
    pool.write_text("memory://x::zip://y.jpg\n")
    refused(pool, "chained URLs are not allowed")
    pool.write_text("tar://only-a-member\n")
    refused(pool, "tar://MEMBER::SHARD")


def test_missing_drivers_are_found_when_the_pool_is_opened(tmp_path, monkeypatch):
    (tmp_path / "pool.txt").write_text("a.jpg\nhdfs://host/a.jpg\n")

    def missing(scheme):
        raise ImportError(f"install the driver of {scheme}")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    refused(tmp_path / "pool.txt", "no driver for hdfs://")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("./a//b.jpg", "a/b.jpg"),
        ("../../up/b.jpg", "up/b.jpg"),
        ("/lists/sub/b.jpg", "sub/b.jpg"),
        ("/other/b.jpg", "other/b.jpg"),
        ("file:///lists/b.jpg", "b.jpg"),
        ("https://h.org/a/b.jpg?token=1#x", "h.org/a/b.jpg"),
        ("s3://bucket/a?b#c.jpg", "bucket/a?b#c.jpg"),
        ("memory:///a.jpg", "a.jpg"),
        ("tar://x/y.jpg::s3://b/shard-1.tar", "shard-1/x/y.jpg"),
    ],
)
def test_ids_of_list_entries(entry, expected):
    assert id_of(entry, "/lists") == expected


def test_queries_are_no_part_of_an_id():
    assert id_of("a.jpg?token=1", "https://host/pool") == "a.jpg"
    assert id_of("a.jpg?token=1", "/lists") == "a.jpg?token=1"


# --------------------------------------------------------------------------------------------------- manifest

ROWS = [
    {"image_id": "one", "uri": "img/1.jpg", "label": "cat", "group": "g1", "frame": 3, "split": "train", "junk": 1},
    {"image_id": "two", "uri": "/abs/2.jpg", "label": None, "group": None, "frame": None, "split": None, "junk": 2},
    {"image_id": "sub/three", "uri": "memory://m/3.jpg", "label": "dog", "group": "g1", "frame": 4, "split": "test",
     "junk": None},
]  # fmt: skip


def write_manifest(folder: Path, kind: str, rows: list[dict]) -> Path:
    file = folder / f"pool.{kind}"
    columns = list(rows[0])
    if kind == "parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), file)
    elif kind == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        mark = "\t" if kind == "tsv" else ","
        lines = [mark.join("" if row.get(name) is None else str(row[name]) for name in columns) for row in rows]
        file.write_text("\n".join([mark.join(columns), *lines]) + "\n")
    return file


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl"])
def test_manifest_columns_are_taken_as_given(tmp_path, kind):
    pool = open_pool(write_manifest(tmp_path, kind, ROWS))
    assert pool.kind == "manifest"
    table = pool.table
    assert table.column_names == ["image_id", "uri", "offset", "size", "label", "group", "frame", "split"]
    assert ids(pool) == ["one", "two", "sub/three"]
    assert table["uri"].to_pylist() == [f"{tmp_path}/img/1.jpg", "/abs/2.jpg", "memory://m/3.jpg"]
    for name in ("label", "group", "frame", "split"):
        assert table[name].to_pylist() == [row[name] for row in ROWS], name
    assert table["frame"].type == pa.int64()
    assert table["image_id"].type == table["uri"].type == table["split"].type == pa.string()


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_manifest_without_ids_takes_them_from_the_uris(tmp_path, kind):
    rows = [{"uri": "img/1.jpg", "mask_uri": "./masks/1.png"}, {"uri": "../2.jpg", "mask_uri": None}]
    pool = open_pool(write_manifest(tmp_path, kind, rows))
    assert ids(pool) == ["img/1.jpg", "2.jpg"]
    assert pool.table["mask_uri"].to_pylist() == [f"{tmp_path}/masks/1.png", None]


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl"])
def test_manifest_errors(tmp_path, kind):
    def fails(text: str, *rows: dict) -> None:
        refused(write_manifest(tmp_path, kind, list(rows)), text)

    fails("no column uri (columns: image_id, path)", {"image_id": "a", "path": "b"})
    fails("uri of row 2 is null", {"image_id": "a", "uri": "x"}, {"image_id": "b", "uri": None})
    fails("image_id of row 1 is null", {"image_id": None, "uri": "x"}, {"image_id": "b", "uri": "y"})
    for bad in ("/abs", "../up", "a/../b", "a//b", "./a", "a/", "a/.", "..", "/"):
        fails(f"image_id {bad!r} of entry 2", {"image_id": "ok", "uri": "x"}, {"image_id": bad, "uri": "y"})
    fails("duplicate image_id 'a'", *({"image_id": name, "uri": "x"} for name in ("a", "b", "a", "c")))
    many = [{"image_id": f"{number % 5}", "uri": "x"} for number in range(20)]
    fails("duplicate image_id '0', '1', '2' and 2 more", *many)
    if kind != "jsonl":
        pool = write_manifest(tmp_path, kind, [{"image_id": 7, "uri": "x"}])
        assert ids(open_pool(pool)) == ["7"]
    file = tmp_path / f"pool.{kind}"
    file.write_bytes(b"")
    refused(file, "pool.")
    file.write_bytes(b'\xff\xfe"broken\n{"uri": ')
    refused(file, "pool.")


def test_manifest_ids_with_control_characters_are_refused(tmp_path):
    for bad in ("a\nb", "a\x00b", "a\tb\x7f"):
        file = write_manifest(tmp_path, "parquet", [{"image_id": bad, "uri": "x"}])
        refused(file, "line breaks")
        file = write_manifest(tmp_path, "parquet", [{"image_id": "a", "uri": bad}])
        refused(file, "control characters")


def test_parquet_types_other_than_text(tmp_path):
    file = tmp_path / "pool.parquet"
    table = pa.table(
        {
            "image_id": pa.array(["a", "b"]).dictionary_encode(),
            "uri": pa.array(["x", "y"], pa.large_string()),
            "label": pa.array([[1, 2], []], pa.list_(pa.int64())),
            "frame": pa.array([1, 2], pa.int16()),
            "group": pa.array([7, None], pa.int32()),
        }
    )
    pa.parquet.write_table(table, file)
    pool = open_pool(file)
    assert ids(pool) == ["a", "b"]
    assert pool.table["label"].to_pylist() == [[1, 2], []]
    assert pool.table["group"].to_pylist() == ["7", None]
    for name, values in (("uri", [1.5, 2.5]), ("image_id", [[1], [2]]), ("frame", ["x", "y"])):
        position = table.column_names.index(name)
        pa.parquet.write_table(table.set_column(position, name, pa.array(values)), file)
        refused(file, "manifest")


def test_parquet_strings_that_are_not_utf8_are_refused(tmp_path):
    offsets = pa.py_buffer(b"\x00\x00\x00\x00\x02\x00\x00\x00")
    bad = pa.StringArray.from_buffers(1, offsets, pa.py_buffer(b"\xff\xfe"))
    pa.parquet.write_table(pa.table({"uri": bad}), tmp_path / "pool.parquet")
    refused(tmp_path / "pool.parquet", "cannot read manifest")


def test_csv_details(tmp_path):
    file = tmp_path / "pool.csv"
    file.write_text('\ufeffimage_id,caption,uri\r\na,"two\nlines, comma","x, y.jpg"\r\nNA,,null\r\n')
    pool = open_pool(file)
    assert ids(pool) == ["a", "NA"]
    assert pool.table["uri"].to_pylist() == [f"{tmp_path}/x, y.jpg", f"{tmp_path}/null"]
    file.write_text("uri,uri\na,b\n")
    refused(file, "column uri occurs twice")
    file.write_text("image_id,uri\na\n")
    refused(file, "cannot read manifest")
    file.write_text("image_id,uri,frame\na,b,soon\n")
    refused(file, "cannot read manifest")


def test_jsonl_details(tmp_path):
    file = tmp_path / "pool.jsonl"
    lines = ['{"uri": "a", "label": null, "x": 1}', "", '{"uri": "b", "label": ["cat"], "x": {"deep": "yes"}}']
    file.write_text("\n".join(lines))
    assert open_pool(file).table["label"].to_pylist() == [None, ["cat"]]
    file.write_text('{"uri": "a"}\n[1]\n')
    refused(file, "line 2 is not a JSON object")
    file.write_text('{"uri": "a"}\n{"uri": 5}\n')
    refused(file, "cannot read manifest")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["parquet", "csv", "jsonl", "tsv", "txt", "tar"]))
def test_random_bytes_give_a_pool_or_a_pool_error(tmp_path_factory, content, kind):
    file = tmp_path_factory.mktemp("random") / f"pool.{kind}"
    file.write_bytes(content)
    try:
        open_pool(file)
    except PoolError as error:
        message = str(error)
        if "\n" in message:
            raise AssertionError(message) from error


# -------------------------------------------------------------------------------------------------------- tar


def write_tar(file: Path, members: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(file, "w", format=kind, errors="surrogateescape") as archive:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return file


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_members_are_rows_with_their_byte_range(tmp_path, kind):
    long = "/".join(["folder" * 4] * 5) + "/x.jpg"
    members = {
        "0001.jpg": JPEG + b"1", "0001.json": b"{}", "./d/0002.PNG": b"2" * 513, "0003": JPEG + b"3",
        "weird ü %.jpg": b"", "a::b.jpg": b"4", long: b"5", "._x.jpg": b"mac",
    }  # fmt: skip
    if kind != tarfile.USTAR_FORMAT:
        members["n" * 200 + ".jpg"] = b"6"
    file = write_tar(tmp_path / "shard.tar", members, kind)
    pool = open_pool(file)
    kept = [name for name in members if name not in ("0001.json", "._x.jpg")]
    assert pool.kind == "tar"
    assert ids(pool) == ["shard/" + name.removeprefix("./") for name in kept]
    assert contents(pool) == [members[name] for name in kept]
    assert pool.skipped_files == 2
    for row, name in zip(pool.table.to_pylist(), kept, strict=True):
        assert split_tar(row["uri"]).shard == f"file://{file}"
        assert row["size"] == len(members[name])
        assert fetch_bytes(row["uri"]) == members[name]  # without the byte range, by looking it up


def test_shards_keep_the_order_of_the_range(tmp_path):
    for number in (2, 0, 1):
        write_tar(tmp_path / f"p-{number:03}.tar", {"x.jpg": JPEG + b"%d" % number})
    expected = [f"p-{number:03}/x.jpg" for number in range(3)]
    assert ids(open_pool(tmp_path / "p-{000..002}.tar")) == expected
    assert ids(open_pool(tmp_path / "p-*.tar")) == expected
    assert ids(open_pool(tmp_path / "p-{002..001}.tar")) == expected[:0:-1]
    refused(tmp_path / "p-{000..003}.tar", "p-003.tar; check the range")
    refused(tmp_path / "q-*.tar", "no tar shard matches")
    (tmp_path / "sub").mkdir()
    (tmp_path / "p-000.tar").rename(tmp_path / "sub/p-001.tar")
    assert ids(open_pool(tmp_path / "**/p-001.tar")) == ["p-001/x.jpg", "sub/p-001/x.jpg"]


def test_hard_tar_members(tmp_path):
    file = tmp_path / "s.tar"
    with tarfile.open(file, "w") as archive:
        folder = tarfile.TarInfo("folder.jpg")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, kind in (("link.jpg", tarfile.SYMTYPE), ("pipe.jpg", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            info.linkname = "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("real.jpg")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"real"))
    pool = open_pool(file)
    assert ids(pool) == ["s/real.jpg"]
    assert pool.skipped_files == 2
    assert contents(pool) == [b"real"]
    for name in ("../up.jpg", "/abs.jpg", "a/../../b.jpg"):
        write_tar(file, {name: b"x"})
        refused(file, "image_id 's/")
    with tarfile.open(write_tar(file, {"a.jpg": b"1"}), "a") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    refused(file, "duplicate image_id 's/a.jpg'")


def test_damaged_shards_are_named(tmp_path):
    whole = write_tar(tmp_path / "whole.tar", {f"{n}.jpg": JPEG * 100 for n in range(5)}).read_bytes()
    file = tmp_path / "s.tar"
    for content, text in (
        (whole[:700], "ends at byte"),
        (whole[:2048 + 100], "cut off"),
        (b"not a tar" * 200, "no valid tar header"),
        (whole[:512] + b"x" * 5000, "no valid tar header"),
        (b"\x1f\x8b" + bytes(600), "compressed with gzip"),
        (b"BZh9" + bytes(600), "compressed with bzip2"),
    ):  # fmt: skip
        file.write_bytes(content)
        assert str(file) in refused(file, text)
    file.write_bytes(b"")
    refused(file, "no images")
    refused(tmp_path / "gone-{0..1}.tar", "is missing")
    no_end = write_tar(tmp_path / "whole.tar", {"a.jpg": JPEG}).read_bytes()[:1024]
    file.write_bytes(no_end)
    assert len(open_pool(file)) == 1


def test_hostile_sizes_cost_no_memory(tmp_path):
    def header(name: bytes, size: int, kind: bytes) -> bytes:
        block = bytearray(512)
        block[: len(name)] = name
        block[124:136] = b"\x80" + size.to_bytes(11, "big")
        block[156:157] = kind
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\x00 " % sum(block)
        return bytes(block)

    file = tmp_path / "s.tar"
    for kind in (b"x", b"L", b"g"):
        file.write_bytes(header(b"a.jpg", 1 << 60, kind) + bytes(1024))
        refused(file, "extended header at byte 0 states 1152921504606846976 bytes")
    file.write_bytes(header(b"a.jpg", 1 << 60, b"0") + bytes(1024))
    refused(file, "ends at byte")
    file.write_bytes(header(b"", 12, b"x") + b"99 path=x\n".ljust(512, b"\x00") + header(b"a", 0, b"0"))
    refused(file, "pax header at byte 0 is damaged")


def test_number_of_members_is_limited(tmp_path):
    file = write_tar(tmp_path / "s.tar", {f"{number}.jpg": b"" for number in range(10)})
    assert len(tar_reader.list_shards([str(file)], str(tmp_path), None, max_members=10).table()) == 10
    with pytest.raises(PoolError, match="more than 9 tar members"):
        tar_reader.list_shards([str(file)], str(tmp_path), None, max_members=9)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_headers_give_members_inside_the_file_or_tar_error(data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("a.jpg", "ü" * 60 + ".jpg", "n" * 150):
            info = tarfile.TarInfo(name)
            info.size = 30
            archive.addfile(info, io.BytesIO(b"x" * 30))
    content = bytearray(out.getvalue())
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(st.integers(0, 4000))] = data.draw(st.integers(0, 255))
    size = len(content)
    try:
        for member in iter_members(lambda offset, count: bytes(content[offset : offset + count]), size):
            if not 0 <= member.offset <= member.offset + member.size <= size:
                raise AssertionError(member)
    except TarError:
        pass


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1))
def test_member_names_survive_the_uri(name):
    parts = split_tar(join_tar(name, "file:///s.tar"))
    assert parts.shard == "file:///s.tar"
    assert "::" not in parts.member
    if ":" not in name and encode_name(name) == name:
        assert parts.member == name


# ----------------------------------------------------------------------------------------------------- fsspec


def test_every_kind_behind_a_memory_url(tmp_path, memory):
    for name in ("p/a.jpg", "p/sub/b c.png", "p/notes.txt", "p/.hidden.jpg", "p/.git/x.jpg"):
        memory.pipe(f"/{name}", JPEG + name.encode())
    memory.pipe("/p/list.txt", b"a.jpg\n# no\nsub/b c.png\nmemory://p/a2.jpg\n")
    memory.pipe("/p/a2.jpg", b"second")
    memory.pipe("/p/m.csv", b"image_id,uri\nx,a.jpg\n")
    memory.pipe("/p/m.parquet", write_manifest(tmp_path, "parquet", [{"uri": "sub/b c.png"}]).read_bytes())
    memory.pipe("/p/m.jsonl", b'{"uri": "a.jpg"}\n')
    for number in (0, 1):
        shard = write_tar(tmp_path / "s.tar", {"x.jpg": b"%d" % number, "x.cls": b"0"})
        memory.pipe(f"/t/s-{number}.tar", shard.read_bytes())

    pool = open_pool("memory://p")
    assert (pool.kind, ids(pool)) == ("directory", ["a.jpg", "a2.jpg", "sub/b c.png"])
    assert contents(pool) == [JPEG + b"p/a.jpg", b"second", JPEG + b"p/sub/b c.png"]
    assert ids(open_pool("memory://p/**/*.png")) == ["sub/b c.png"]
    assert ids(open_pool("memory://p/a*.jpg")) == ["a.jpg", "a2.jpg"]
    assert ids(open_pool("memory://p/{a,a2}.jpg")) == ["a.jpg", "a2.jpg"]
    listed = open_pool("memory://p/list.txt")
    assert (listed.kind, ids(listed)) == ("list", ["a.jpg", "sub/b c.png", "p/a2.jpg"])
    assert contents(listed)[1] == JPEG + b"p/sub/b c.png"
    for name, expected in (("csv", ["x"]), ("parquet", ["sub/b c.png"]), ("jsonl", ["a.jpg"])):
        manifest = open_pool(f"memory://p/m.{name}")
        assert (manifest.kind, ids(manifest)) == ("manifest", expected)
        assert contents(manifest)[0].startswith(JPEG)
    for source in ("memory://t/s-{0..1}.tar", "memory://t/s-*.tar"):
        shards = open_pool(source)
        assert (shards.kind, ids(shards)) == ("tar", ["s-0/x.jpg", "s-1/x.jpg"])
        assert contents(shards) == [b"0", b"1"]
        assert fetch_bytes(shards.table["uri"][1].as_py()) == b"1"


def test_remote_errors(memory):
    refused("memory://nothing", "pool does not exist")
    refused("memory://nothing/list.txt", "pool does not exist")
    refused("memory://nothing/x-{0..1}.tar", "cannot read tar shard")
    refused("memory://nothing/*.jpg", "no images")
    refused("ssh://host/dir", "scheme ssh:// is not allowed")
    refused("memory://a", "scheme memory:// is not allowed", allowed_schemes=("file",))
    refused("file:///nowhere/at/all", "pool does not exist")


# ---------------------------------------------------------------------------------------------------- details


def test_digest_covers_ids_and_uris_in_order(tmp_path):
    fill(tmp_path, "a.jpg", "b.jpg")
    pool = open_pool(tmp_path)
    text = "".join(f"{name}\0{tmp_path}/{name}\n" for name in ("a.jpg", "b.jpg"))
    assert pool.digest() == hashlib.sha256(text.encode()).hexdigest()
    turned = Pool("", "list", pool.table.take([1, 0]), 0, ())
    assert turned.digest() != pool.digest()


def test_duplicates_are_found_across_chunks():
    part = pa.table({"image_id": ["b", "a"], "uri": ["x", "y"]})
    check_table(part, "here")
    with pytest.raises(PoolError, match="duplicate image_id 'a', 'b', here; give"):
        check_table(pa.concat_tables([part, part]), "here")


def test_opening_a_local_pool_imports_neither_models_nor_drivers():
    code = (
        "import sys; from alseg_fast.stages import pool, fetch; "
        "print([name for name in ('onnxruntime', 'torch', 'fsspec', 'pandas') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_odd_images_are_all_listed():
    if not (ODD_IMAGES / "manifest.tsv").is_file():
        pytest.skip("shared/data/odd_images is not there")
    pool = open_pool(ODD_IMAGES)
    with open(ODD_IMAGES / "manifest.tsv") as file:
        named = sorted(line.split("\t")[0] for line in list(file)[1:])
    assert ids(pool) == named
    assert pool.skipped_examples == ("manifest.tsv",)
