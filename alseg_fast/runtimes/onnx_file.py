"""What an ONNX file says about itself, read without ONNX Runtime: versions, metadata, external data, digest.

ONNX Runtime reports neither the opset nor the external data files of a model, and for a damaged file only
that parsing failed. An ONNX file is one protobuf message: its outer fields are a few lines to walk, and the
bytes of its tensors are skipped by their length. Field numbers: onnx/onnx.proto, ModelProto and below.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import ModelError

# Messages that can hold a tensor, and the fields that lead there: {message: {field number: message}}.
_CHILDREN: dict[str, dict[int, str]] = {
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node"},
    "tensor": {13: "external"},
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_WIRE = {1: _VARINT, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: _VARINT, 6: _BYTES, 7: _BYTES, 8: _BYTES}


class _Damaged(Exception):
    """The bytes are not a complete protobuf message."""


@dataclass(frozen=True)
class OnnxFile:
    """Facts of one ONNX file.

    Attributes:
        sha256: digest of the file; with external data, digest of the lines ``HEX  NAME`` (as sha256sum prints
            them) of the model file and then of every external file, sorted by name.
        opset: operator set versions by domain; the default domain is spelt ``ai.onnx``.
        external: names of external data files, relative to the model's folder.
    """

    path: Path
    sha256: str
    ir_version: int
    opset: dict[str, int]
    producer: str
    metadata: dict[str, str]
    external: tuple[str, ...]


def read_onnx_file(path: Path) -> OnnxFile:
    """Read the outer fields of an ONNX file and digest it together with its external data.

    Raises:
        ModelError: the file is missing, not a file, empty, unreadable, not ONNX, cut short, or its external
            data is missing or lies outside its folder.
    """
    if path.is_dir():
        raise ModelError(f"model {path} is a directory; name the .onnx file in it")
    if not path.is_file():
        raise ModelError(f"model {path} does not exist; check the path")
    try:
        if path.stat().st_size == 0:
            raise ModelError(f"model {path} is empty (0 bytes); export or download it again")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            ir_version, opset, producer, metadata, external = _parse_model(path, buffer)
        return OnnxFile(path, _digest(path, external), ir_version, opset, producer, metadata, external)
    except OSError as exc:
        raise ModelError(f"model {path} cannot be read ({exc.strerror}); check its permissions") from exc


def _parse_model(path: Path, buffer: mmap.mmap) -> tuple[int, dict[str, int], str, dict[str, str], tuple[str, ...]]:
    texts: dict[int, str] = {}
    ir_version, seen = 0, 0
    opset: dict[str, int] = {}
    metadata: dict[str, str] = {}
    external: set[str] = set()
    has_graph = False
    try:
        for number, wire, value, end in _fields(buffer, 0, len(buffer)):
            if _MODEL_WIRE.get(number, wire) != wire:
                raise _Damaged(f"field {number} has wire type {wire}")
            seen += 1
            if number == 1:
                ir_version = value
            elif number in (2, 3):
                texts[number] = _text(buffer, value, end)
            elif number == 7:
                has_graph = True
                external |= _external_names(buffer, "graph", value, end)
            elif number == 25:
                external |= _external_names(buffer, "function", value, end)
            elif number == 8:
                entry = {n: (v, e) for n, _, v, e in _fields(buffer, value, end)}
                domain = _text(buffer, *entry[1]) if 1 in entry else ""
                opset[domain or "ai.onnx"] = entry[2][0] if 2 in entry else 0
            elif number == 14:
                metadata.update([_entry(buffer, value, end)])
    except _Damaged as exc:
        # A first field that reads like ModelProto tells a damaged model from some other kind of file.
        if seen and (ir_version or texts):
            raise ModelError(f"model {path} is cut short or damaged ({exc}); export or download it again") from exc
        raise ModelError(f"model {path} is not an ONNX file; export the network to ONNX first") from exc
    if not (has_graph and ir_version):
        raise ModelError(f"model {path} is not an ONNX file (it holds no graph); export the network to ONNX")
    producer = " ".join(texts[n] for n in (2, 3) if texts.get(n))
    return ir_version, opset, producer, metadata, tuple(sorted(external))


def _fields(buffer: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, wire type, value, end): a varint's value, or the span of a field's bytes."""
    position = start
    while position < end:
        tag, position = _varint(buffer, position, end)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(buffer, position, end)
            yield number, wire, value, position
            continue
        if wire == _BYTES:
            length, position = _varint(buffer, position, end)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise _Damaged(f"wire type {wire} at byte {position}")
        if number == 0 or length > end - position:
            raise _Damaged(f"a field of {length} bytes at byte {position} of {len(buffer)}")
        yield number, wire, position, position + length
        position += length


def _varint(buffer: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise _Damaged(f"the file ends inside a number at byte {position}")
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _Damaged(f"a number of more than ten bytes at byte {position}")


def _text(buffer: mmap.mmap, start: int, end: int) -> str:
    try:
        return buffer[start:end].decode("utf-8")
    except UnicodeDecodeError as exc:
        raise _Damaged(f"text at byte {start} is not UTF-8") from exc


def _entry(buffer: mmap.mmap, start: int, end: int) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    parts = {n: _text(buffer, v, e) for n, wire, v, e in _fields(buffer, start, end) if wire == _BYTES}
    return parts.get(1, ""), parts.get(2, "")


def _external_names(buffer: mmap.mmap, kind: str, start: int, end: int) -> set[str]:
    """Locations of all tensors below a message that keep their data in another file."""
    names: set[str] = set()
    todo = [(kind, start, end)]
    while todo:
        kind, start, end = todo.pop()
        if kind == "external":
            key, value = _entry(buffer, start, end)
            if key == "location":
                names.add(value)
            continue
        children = _CHILDREN[kind]
        todo += [
            (children[number], value, stop)
            for number, wire, value, stop in _fields(buffer, start, end)
            if wire == _BYTES and number in children
        ]
    return names


def _digest(path: Path, external: tuple[str, ...]) -> str:
    if not external:
        return _file_sha256(path)
    lines = [f"{_file_sha256(path)}  {path.name}\n"]
    for name in external:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ModelError(f"model {path} wants external data outside its folder ({name}); refuse to follow it")
        data = path.parent / name
        if not data.is_file():
            raise ModelError(f"model {path} keeps weights in {name}, which is missing; put it beside the model")
        lines.append(f"{_file_sha256(data)}  {name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
