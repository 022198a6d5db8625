"""Superpixels on disk: they depend on the picture alone, so a later run with another model need not cut again.

One small file a picture, named by a hash of the picture and of everything that decides the result. A file that is
damaged is made again; a directory that cannot be written is warned about once, and the run goes on without it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..atomic import temp_name
from ..errors import RunError

log = logging.getLogger("alseg")

# Changes whenever the same picture and parameters would give other superpixels.
_VERSION = 1
_HEAD = struct.Struct("<8sIII16s")  # magic, height, width, bytes an id, digest of the compressed ids
_MAGIC = b"alsegspx"


class RegionCache:
    """A directory of superpixels; threads and processes may share it.

    Args:
        directory: made if absent.
    Raises: RunError: the directory cannot be made.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory)
        self._lock = threading.Lock()
        self._broken = False
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            why = exc.strerror or exc
            raise RunError(f"cannot make the region cache {directory}: {why}; choose another --region-cache") from exc

    def key(self, source: Any, shape: tuple[int, int], plan: str) -> str:
        """Name of the superpixels of `source` (encoded bytes or a pixel array) at a size, cut by a plan."""
        digest = hashlib.blake2b(digest_size=20)
        digest.update(f"{_VERSION} {shape[0]}x{shape[1]} {plan} ".encode())
        if isinstance(source, np.ndarray):
            digest.update(f"{source.dtype} {source.shape} ".encode())
            source = np.ascontiguousarray(source)
        digest.update(source)
        return digest.hexdigest()

    def load(self, key: str, shape: tuple[int, int]) -> NDArray[np.int32] | None:
        """[h, w] int32 ids, or None if they are not there or damaged."""
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        segments = _unpack(content, shape)
        if segments is None:
            log.warning("%s is damaged; its superpixels are cut again", self._path(key))
        return segments

    def store(self, key: str, segments: NDArray[np.int32]) -> None:
        """Keep [h, w] ids >= 0 under `key`."""
        path = self._path(key)
        temporary = path.parent / temp_name()
        try:
            path.parent.mkdir(exist_ok=True)
            try:
                temporary.write_bytes(_pack(segments))
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as exc:
            with self._lock:
                if not self._broken:
                    log.warning("cannot write %s: %s; going on without this cache", path, exc.strerror or exc)
                self._broken = True

    def _path(self, key: str) -> Path:
        return self._directory / key[:2] / f"{key[2:]}.spx"


def _pack(segments: NDArray[np.int32]) -> bytes:
    """Differences down the columns, which are 0 almost everywhere, compressed."""
    kind: type[np.uint16 | np.uint32] = np.uint16 if segments.max() < 1 << 16 else np.uint32
    steps = np.diff(segments, axis=0, prepend=np.int32(0)).astype(kind)  # wraps, and so does their sum
    body: bytes = pa.Codec("zstd", compression_level=1).compress(steps.tobytes(), asbytes=True)
    digest = hashlib.blake2b(body, digest_size=16).digest()
    return _HEAD.pack(_MAGIC, *segments.shape, steps.itemsize, digest) + body


def _unpack(content: bytes, shape: tuple[int, int]) -> NDArray[np.int32] | None:
    if len(content) < _HEAD.size:
        return None
    magic, height, width, item, digest = _HEAD.unpack_from(content)
    body = content[_HEAD.size :]
    whole = hashlib.blake2b(body, digest_size=16).digest() == digest
    if magic != _MAGIC or (height, width) != shape or item not in (2, 4) or not whole:
        return None
    raw = pa.Codec("zstd").decompress(body, decompressed_size=height * width * item)
    ids = np.frombuffer(raw, np.uint16 if item == 2 else np.uint32).reshape(shape)
    return np.cumsum(ids, axis=0, dtype=ids.dtype).astype(np.int32)
