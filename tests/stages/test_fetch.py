"""fetch_bytes: the bytes, or a DataError that names the file."""

import os
import tarfile

import fsspec
import pytest

from alseg_fast.errors import DataError
from alseg_fast.stages.fetch import ALLOWED_SCHEMES, fetch_bytes


def refused(text: str, uri: str, *args: object, **options: object) -> None:
    with pytest.raises(DataError) as error:
        fetch_bytes(uri, *args, **options)
    assert text in str(error.value)
    assert uri.rpartition("://")[2] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a b#%.jpg"
    path.write_bytes(bytes(range(256)))
    return path


@pytest.fixture
def url():
    file_system = fsspec.filesystem("memory")
    file_system.pipe("/fetch/x.jpg", bytes(range(256)))
    yield "memory://fetch/x.jpg"
    file_system.rm("/fetch", recursive=True)


def test_whole_files_and_ranges(file, url):
    for uri in (str(file), f"file://{file}", f"local://{file}", f"file://localhost{file}", file.as_uri(), url):
        assert fetch_bytes(uri) == bytes(range(256)), uri
        assert fetch_bytes(uri, 10, 5) == bytes(range(10, 15))
        assert fetch_bytes(uri, 0, 0) == b""
        assert fetch_bytes(uri, 250, 6) == bytes(range(250, 256))


def test_limits_are_checked_before_reading(file, url):
    for uri in (str(file), url):
        assert len(fetch_bytes(uri, max_bytes=256)) == 256
        refused("file has 256 bytes, above the limit of 255", uri, max_bytes=255)
        refused("file has 99 bytes, above the limit of 9", uri, 0, 99, max_bytes=9)


def test_sparse_files_beyond_the_limit_are_not_read(tmp_path):
    with open(tmp_path / "huge.jpg", "wb") as handle:
        handle.truncate(1 << 40)
    refused("above the limit of 536,870,912", str(tmp_path / "huge.jpg"))


def test_ranges_beyond_the_end_are_cut_off(file, url):
    for uri in (str(file), url):
        refused("file ends early", uri, 250, 7)
        refused("file ends early", uri, 1000, 1)


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", tmp_path, "/dev/zero"):
        refused("not a regular file", str(path))
    refused("No such file", str(tmp_path / "none.jpg"))
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    refused("symbolic link", str(tmp_path / "loop.jpg"))
    refused("cannot read", "a\x00b")
    refused("cannot read", "x" * 5000)


def test_a_file_that_shrinks_while_it_is_read_is_reported(file, monkeypatch):
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, count, start: pread(fd, min(count, 100), start))
    assert fetch_bytes(str(file)) == bytes(range(256))
    monkeypatch.setattr(os, "pread", lambda fd, count, start: pread(fd, min(count, 100), start) if start < 200 else b"")
    refused("file ends early: 256 bytes expected, 200 read", str(file))


def test_schemes_are_restricted(file, url):
    for uri in ("ssh://h/x", "python://x", "github://a", "zip://x::memory://y"):
        refused("is not allowed", uri)
    refused("chained", "memory://x::memory://y")
    refused("scheme memory:// is not allowed", url, allowed_schemes=("file",))
    assert "s3" in ALLOWED_SCHEMES
    assert "ssh" not in ALLOWED_SCHEMES


def test_remote_failures_are_data_errors(url):
    refused("cannot read", "memory://fetch/none.jpg")
    refused("not a file", "memory://fetch")


def test_tar_members_without_range(tmp_path):
    (tmp_path / "in.jpg").write_bytes(b"inside")
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(tmp_path / "in.jpg", "d/in.jpg")
    shard = f"file://{tmp_path}/s.tar"
    assert fetch_bytes(f"tar://d/in.jpg::{shard}") == b"inside"
    with pytest.raises(DataError, match="no such member"):
        fetch_bytes(f"tar://d/out.jpg::{shard}")
    with pytest.raises(DataError, match="missing"):
        fetch_bytes(f"tar://d/in.jpg::{shard}x")
    (tmp_path / "s.tar").write_bytes(b"damaged" * 200)
    with pytest.raises(DataError, match="no valid tar header"):
        fetch_bytes(f"tar://d/in.jpg::{shard}")
    with pytest.raises(DataError, match="not allowed"):
        fetch_bytes("tar://x::ssh://host/s.tar")


def test_the_cached_index_notices_a_new_shard(tmp_path):
    for body in (b"first", b"second one"):
        (tmp_path / "in.jpg").write_bytes(body)
        with tarfile.open(tmp_path / "s.tar", "w") as archive:
            archive.add(tmp_path / "in.jpg", "in.jpg")
        os.utime(tmp_path / "s.tar", ns=(0, len(body)))
        assert fetch_bytes(f"tar://in.jpg::{tmp_path}/s.tar") == body
