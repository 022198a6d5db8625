"""Which images exist: a folder, a glob, a list, a manifest or tar shards, here or behind an fsspec URL.

image_id, the stable name of an image and its file name below RUN/maps:

    directory, glob   path relative to the folder (to the folder before the first pattern character)
    list              the path or URL as `readers.uris.id_of` shortens it
    manifest          the column image_id, else as for a list
    tar               SHARD/MEMBER, SHARD without .tar and relative as for a glob

Order: by image_id for folders and globs, as given for the others.
What counts as an image in folders, globs and archives: a name with one of IMAGE_EXTENSIONS, or a file
without a well-known extension that starts with an image signature (local files and tar members only).
Hidden names are passed over.
"""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import PoolError
from .codecs.signatures import IMAGE_EXTENSIONS, has_image_extension
from .readers.directory import list_directory, list_remote_directory, read_head
from .readers.globbing import expand_braces, expand_glob, fixed_folder, has_magic
from .readers.listfile import read_list
from .readers.listing import Listing, check_table, sorted_by_id
from .readers.manifest import MANIFEST_EXTENSIONS, folder_of, read_manifest
from .readers.tar import TAR_EXTENSIONS, list_shards
from .readers.uris import (
    ALLOWED_SCHEMES,
    StorageOptions,
    encode_name,
    local_path,
    one_line,
    open_filesystem,
    refusal,
    scheme_of,
    uri_of_path,
)

__all__ = ["ALLOWED_SCHEMES", "IMAGE_EXTENSIONS", "Pool", "open_pool"]

LIST_EXTENSIONS = (".txt", ".lst", ".list")
FILE_KINDS = ", ".join((*LIST_EXTENSIONS, *MANIFEST_EXTENSIONS, ".tar"))
_DIGEST_ROWS = 1 << 16


@dataclass(frozen=True)
class Pool:
    """The images of a pool, listed but not opened.

    source: as given.  kind: "directory" | "glob" | "list" | "manifest" | "tar".
    table: image_id string, uri string, offset and size int64 (byte range inside a tar shard, else null),
        and of label, group, frame, mask_uri, split those that a manifest has.
    skipped_files: files of a folder or archive that are no images by the rule above; skipped_examples: up
        to five.
    """

    source: str
    kind: str
    table: pa.Table
    skipped_files: int
    skipped_examples: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def digest(self) -> str:
        """SHA-256 (hex) over `image_id NUL uri LF` of every row in order."""
        digest = hashlib.sha256()
        for start in range(0, len(self), _DIGEST_ROWS):
            rows = self.table.slice(start, _DIGEST_ROWS).combine_chunks()
            lines = pc.binary_join_element_wise(
                rows["image_id"], pc.binary_join_element_wise(rows["uri"], "\n", ""), "\0"
            )
            digest.update("".join(lines.to_pylist()).encode())
        return digest.hexdigest()


def open_pool(
    source: str | os.PathLike[str],
    *,
    storage_options: StorageOptions | None = None,
    allowed_schemes: tuple[str, ...] = ALLOWED_SCHEMES,
) -> Pool:
    """List a pool. Nothing is decoded; of images only their names, and of archives their headers, are read.

    Args:
        source: folder, glob, list (.txt, .lst, .list), manifest (.parquet, .csv, .tsv, .jsonl), tar shards
            (one .tar, a glob or a brace range of them), or any of these behind an fsspec URL.
        storage_options: passed to fsspec for URLs.
        allowed_schemes: URL schemes that the pool and its entries may use.
    Raises: PoolError, one line: missing, empty or unreadable pool, damaged list, manifest or shard,
        duplicate or unusable image_id, refused scheme.
    """
    text = os.fspath(source)
    if not text or "\x00" in text:
        raise PoolError(f"pool {text!r} is no path or URL; name a folder, glob, list, manifest or tar shards")
    reason = refusal(text, allowed_schemes)
    if reason is not None:
        raise PoolError(f"{reason}, pool {text}; use an allowed address")
    path = local_path(text)
    if path is None:
        kind, table, listing = _open_remote(text, storage_options)
    else:
        kind, table, listing = _open_local(os.path.abspath(os.path.expanduser(path)), storage_options)
    if table.num_rows == 0:
        raise PoolError(_nothing_found(text, kind, listing))
    if kind in ("list", "manifest"):
        _check_schemes(table, text, allowed_schemes)
    check_table(table, f"pool {text}")
    return Pool(text, kind, table, listing.skipped_files, tuple(listing.skipped_examples))


Opened = tuple[str, pa.Table, Listing]


def _open_local(path: str, storage_options: StorageOptions | None) -> Opened:
    if os.path.isdir(path):
        listing = list_directory(path)
        return "directory", sorted_by_id(listing.table()), listing
    if os.path.lexists(path):
        return _open_file(path, storage_options)
    if not has_magic(path) and "{" not in path:
        raise PoolError(f"pool does not exist, {path}; check the path")
    patterns = expand_braces(path)
    if path.lower().endswith(TAR_EXTENSIONS):
        shards = [shard for pattern in patterns for shard in _glob_or_name(pattern)]
        return _open_shards(shards, fixed_folder(path), path, storage_options)
    root = fixed_folder(path)
    listing = Listing()
    for pattern in patterns:
        for found in expand_glob(pattern):
            relative = found[len(root) :].lstrip("/")
            usable = os.path.isfile(found) or os.path.islink(found)
            if usable and listing.wants(os.path.basename(found), partial(read_head, found)):
                listing.add(encode_name(relative), uri_of_path(found))
            else:
                listing.skip(encode_name(relative))
    return "glob", sorted_by_id(listing.table(), drop_repeats=True), listing


def _glob_or_name(pattern: str) -> list[str]:
    return sorted(expand_glob(pattern)) if has_magic(pattern) else [pattern]


def _open_remote(url: str, storage_options: StorageOptions | None) -> Opened:
    is_http = scheme_of(url) in ("http", "https")
    pattern = url.replace("?", "") if is_http else url
    if not has_magic(pattern) and "{" not in pattern and not _is_file_kind(url):
        file_system, root = _remote(url, storage_options)
        if not _ask(url, file_system.isdir, root):
            raise PoolError(f"pool does not exist or is of no known kind, {url}; name a folder or a {FILE_KINDS}")
        listing = list_remote_directory(file_system, root, url)
        return "directory", sorted_by_id(listing.table()), listing
    if not has_magic(pattern) and "{" not in pattern:
        return _open_file(url, storage_options)
    root = fixed_folder(url)
    if scheme_of(root) is None:  # a pattern right behind the scheme
        root = f"{scheme_of(url)}://"
    found = [name for pattern in expand_braces(url) for name in _remote_glob(pattern, root, storage_options)]
    prefix = root if root.endswith("/") else f"{root}/"
    if url.lower().endswith(TAR_EXTENSIONS):
        return _open_shards([prefix + name for name in found], root, url, storage_options)
    listing = Listing()
    for relative in found:
        name = relative.rpartition("/")[2]
        if has_image_extension(name) and not name.startswith("."):
            listing.add(relative, prefix + relative)
        else:
            listing.skip(encode_name(relative))
    return "glob", sorted_by_id(listing.table(), drop_repeats=True), listing


def _remote_glob(pattern: str, root: str, storage_options: StorageOptions | None) -> list[str]:
    """Names relative to root: compared without scheme, for drivers write one address in several ways."""
    if not has_magic(pattern):
        return [pattern[len(root) :].lstrip("/")]
    file_system, path = _remote(pattern, storage_options)
    _, folder = _remote(root, storage_options)
    names = (str(name) for name in _ask(pattern, file_system.glob, path))
    return sorted(name[len(folder) :].lstrip("/") for name in names)


def _is_file_kind(name: str) -> bool:
    return name.lower().endswith((*LIST_EXTENSIONS, *MANIFEST_EXTENSIONS, *TAR_EXTENSIONS))


def _open_file(source: str, storage_options: StorageOptions | None) -> Opened:
    """A list, manifest or shard that exists; source is an absolute path or a URL."""
    name = source.lower()
    base = folder_of(source)
    where = source
    if name.endswith(TAR_EXTENSIONS):
        return _open_shards([source], base, source, storage_options)
    if name.endswith(MANIFEST_EXTENSIONS):
        with _opened(source, storage_options) as file:
            return "manifest", read_manifest(file, name, where, base), Listing()
    if name.endswith(LIST_EXTENSIONS):
        with _opened(source, storage_options) as file:
            listing = read_list(file, where, base)
        return "list", listing.table(), listing
    if has_image_extension(name):
        raise PoolError(f"pool is a single image, {source}; name its folder, or write its path into a .txt list")
    raise PoolError(f"pool is a file of no known kind, {source}; use {FILE_KINDS}")


def _open_shards(shards: list[str], base: str, where: str, storage_options: StorageOptions | None) -> Opened:
    if not shards:
        raise PoolError(f"no tar shard matches, {where}; check the pattern")
    listing = list_shards(shards, base, storage_options)
    return "tar", listing.table(), listing


@contextmanager
def _opened(source: str, storage_options: StorageOptions | None) -> Iterator[BinaryIO]:
    if scheme_of(source) is None:
        if not os.path.isfile(source):
            raise PoolError(f"pool is not a regular file, {source}; name a file or folder")
        try:
            file: BinaryIO = open(source, "rb")  # noqa: SIM115 - closed below
        except OSError as exc:
            raise PoolError(f"cannot read {source}: {one_line(exc)}; check its permissions") from exc
        with file:
            yield file
        return
    file_system, path = _remote(source, storage_options)
    # Manifests and lists are small beside their images, and every parser wants to seek.
    yield io.BytesIO(_ask(source, file_system.cat_file, path))


def _remote(url: str, storage_options: StorageOptions | None) -> tuple[Any, str]:
    try:
        return open_filesystem(url, storage_options)
    except ImportError as exc:
        raise PoolError(f"no driver for {scheme_of(url)}://, {url}: {one_line(exc)}; install it") from exc
    except Exception as exc:  # drivers raise what their service library raises
        raise PoolError(f"cannot open {url}: {one_line(exc)}; check the address and your access to it") from exc


def _ask(url: str, question: Any, path: str) -> Any:
    try:
        return question(path)
    except FileNotFoundError as exc:
        raise PoolError(f"pool does not exist, {url}; check the address") from exc
    except Exception as exc:  # drivers raise what their service library raises
        raise PoolError(f"cannot read {url}: {one_line(exc)}; check the address and your access to it") from exc


def _check_schemes(table: pa.Table, source: str, allowed_schemes: tuple[str, ...]) -> None:
    """One error now instead of a failure for every image: refused schemes and missing drivers."""
    import fsspec

    for chunk in table["uri"].chunks:
        remote = chunk.filter(pc.match_substring_regex(chunk, r"^[A-Za-z][A-Za-z0-9+.\-]*://"))
        heads = pc.utf8_lower(pc.replace_substring_regex(remote, r"://(?s:.*)$", "")).to_pylist()
        for position in {scheme: index for index, scheme in enumerate(heads)}.values():
            uri = remote[position].as_py()
            reason = refusal(uri, allowed_schemes)
            if reason is not None:
                raise PoolError(f"{reason}, {uri} in pool {source}; use an allowed address")
            try:
                fsspec.get_filesystem_class(heads[position])
            except (ImportError, ValueError) as exc:
                raise PoolError(
                    f"no driver for {heads[position]}://, pool {source}: {one_line(exc)}; install it"
                ) from exc


def _nothing_found(source: str, kind: str, listing: Listing) -> str:
    if not listing.skipped_files:
        return f"no images, pool {source} ({kind}); check the path"
    examples = ", ".join(listing.skipped_examples)
    advice = "name the shards, for example DIR/*.tar" if ".tar" in examples else "check the extensions"
    passed = f"passed over {listing.skipped_files} other files: {examples}"
    return f"no images, pool {source} ({kind}; {passed}); {advice}"
