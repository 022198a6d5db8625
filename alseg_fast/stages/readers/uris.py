"""What a uri means here, which ones are allowed, and how odd names are written.

A uri is a local path, or `scheme://...`, or `tar://MEMBER::SHARD` where SHARD is one of the first two.

Names that hold control characters or bytes which are not UTF-8 are written percent-encoded (with `%` as
`%25`), as an image_id directly and as a uri in the form `file://...`. All other names, `%` included, are
written as they are. So a `file://` path is tried as it stands and, if there is no such file, percent-decoded.
"""

import os
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any, NamedTuple

ALLOWED_SCHEMES: tuple[str, ...] = (
    "file", "local", "memory", "http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "hf",
    "hdfs", "webhdfs", "oci",
)  # fmt: skip
"""Schemes that a pool may use. fsspec knows others that log in to hosts, unpack archives or run code."""

LOCAL_SCHEMES = ("file", "local")
StorageOptions = Mapping[str, Any]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_ODD = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_ODD_OR_PERCENT = re.compile(r"[%\x00-\x1f\x7f\ud800-\udfff]")


class TarMember(NamedTuple):
    member: str
    shard: str


def scheme_of(uri: str) -> str | None:
    """Lower-case scheme of a URL; None for a path."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match else None


def is_remote(uri: str) -> bool:
    """Whether the bytes behind a uri come over a network; a member of a tar file counts as the file."""
    shard = uri.rsplit("::", 1)[-1]
    return "://" in shard and shard.split("://", 1)[0] not in ("file", "local", "memory")


def split_tar(uri: str) -> TarMember | None:
    """(member, shard uri) of `tar://MEMBER::SHARD`, else None."""
    if not uri.startswith("tar://"):
        return None
    member, mark, shard = uri[6:].partition("::")
    return TarMember(member, shard) if member and mark and shard else None


def join_tar(member: str, shard: str) -> str:
    """`tar://MEMBER::SHARD`; a member that holds `::` or ends in `:` is percent-encoded."""
    written = encode_name(member)
    if "::" in f"{written}:":
        encoded = written if written != member else member.replace("%", "%25")
        written = encoded.replace(":", "%3A")
    return f"tar://{written}::{shard}"


def refusal(uri: str, allowed: tuple[str, ...]) -> str | None:
    """Why this uri may not be read, as a clause; None if it may."""
    scheme = scheme_of(uri)
    if scheme is None:
        return None
    if scheme == "tar":
        parts = split_tar(uri)
        if parts is None or scheme_of(parts.shard) == "tar":
            return "a tar member must be written tar://MEMBER::SHARD"
        return refusal(parts.shard, allowed)
    if scheme not in allowed:
        return f"scheme {scheme}:// is not allowed (allowed: {', '.join(allowed)})"
    if scheme not in LOCAL_SCHEMES and "::" in uri:
        return "chained URLs are not allowed"
    return None


def local_path(uri: str) -> str | None:
    """The path that a path or file:// URL names on this machine; None for other URLs."""
    scheme = scheme_of(uri)
    if scheme is None:
        return uri
    if scheme not in LOCAL_SCHEMES:
        return None
    path = uri[len(scheme) + 3 :].removeprefix("localhost") or "/"
    if "%" in path and not os.path.lexists(path):
        return os.fsdecode(urllib.parse.unquote_to_bytes(path))
    return path


def encode_name(name: str) -> str:
    """The name itself, or percent-encoded if it holds control characters or bytes that are not UTF-8."""
    if name.isprintable() or not _ODD.search(name):
        return name
    return _ODD_OR_PERCENT.sub(_percent, name)


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))


def uri_of_path(path: str) -> str:
    """A path as a uri: the path, or file:// and its percent-encoding if it holds odd characters."""
    encoded = encode_name(path)
    return path if encoded is path else f"file://{encoded}"


def id_of(entry: str, base: str | None) -> str:
    """image_id of a list line or of a manifest row that has none of its own.

    Paths: relative to the folder of the list (base) if inside it; otherwise without their leading `/` or
        `../`.
    URLs: without the scheme, and for http(s) without query and fragment. Tar members: SHARD_STEM/MEMBER.
    """
    if _is_plain(entry):
        return encode_name(entry.partition("?")[0] if _is_http(base) else entry)
    scheme = scheme_of(entry)
    tar = split_tar(entry)
    if tar is not None:
        stem = os.path.basename(tar.shard).removesuffix(".tar")
        return encode_name(f"{stem}/{tar.member}")
    if scheme is not None and scheme not in LOCAL_SCHEMES:
        rest = entry[len(scheme) + 3 :]
        if _is_http(entry):
            rest = re.split(r"[?#]", rest, maxsplit=1)[0]
        return encode_name(rest.lstrip("/"))
    path = os.path.normpath(local_path(entry) or entry)
    if os.path.isabs(path):
        if base is not None and path.startswith(base.rstrip("/") + "/"):
            path = path[len(base.rstrip("/")) :]
        path = path.lstrip("/")
    while path.startswith("../"):
        path = path[3:]
    return encode_name(path)


def _is_plain(entry: str) -> bool:
    """A relative path that needs no tidying: the usual case, and ten times as fast as the general one."""
    tidy = ":" not in entry and "//" not in entry and "/." not in entry
    return tidy and entry[:1] not in ("/", ".", "") and entry[-1] != "/"


def _is_http(address: str | None) -> bool:
    return address is not None and scheme_of(address) in ("http", "https")


def resolve(entry: str, base: str) -> str:
    """uri of a list line or manifest value; relative paths count from base, a folder path or its URL."""
    if not _is_plain(entry) and scheme_of(entry) is not None:
        return entry
    while entry.startswith("./"):
        entry = entry[2:].lstrip("/")
    if scheme_of(base) is not None and not entry.startswith("/"):
        return f"{base.rstrip('/')}/{entry}"
    return uri_of_path(os.path.join(base, entry))


def open_filesystem(url: str, storage_options: StorageOptions | None) -> tuple[Any, str]:
    """fsspec file system and path of a URL. Raises ImportError (driver missing), ValueError or OSError."""
    import fsspec

    file_system, path = fsspec.core.url_to_fs(url, **dict(storage_options or {}))
    return file_system, str(path)


def one_line(exc: BaseException) -> str:
    """The text of an exception without line breaks; its type where it has no text."""
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return " ".join(str(exc).split()) or type(exc).__name__
