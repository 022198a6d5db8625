"""The page of a report: template, style, script and data in one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..atomic import write_atomic
from ..errors import RunError
from .report_pictures import LEVELS, SMALLEST_SIDE, LoadImage, LoadOverlay, PictureSpool

MAX_BYTES = 50_000_000
ADVICE = "free space or change --out"
SCRIPTS = ("basics.js", "report_maps.js", "report_tables.js", "report.js")  # joined in this order
log = logging.getLogger("alseg")


@dataclass(frozen=True)
class ReportSummary:
    """Where the report is, the pictures and bytes in it, and the longest side of its thumbnails in pixels."""

    path: Path
    images: int
    bytes: int
    thumb_side: int


def write_page(
    data: Mapping[str, Any],
    out: Path,
    *,
    load_image: LoadImage,
    overlay: LoadOverlay,
    thumb_side: int,
    max_bytes: int = MAX_BYTES,
) -> ReportSummary:
    """Encode the pictures of the cards and write the page; see `report.write_report`.

    Thumbnails and maps become smaller, with a log line, until the file fits into max_bytes.
    Raises:
        RunError: the file cannot be written.
    """
    images: dict[str, int] = {}  # image_id -> index of its picture; picks of one image share it
    spool = PictureSpool(thumb_side)
    try:
        for card in data["cards"]:
            if card["image_id"] not in images:
                images[card["image_id"]] = len(images)
                spool.add(card["image_id"], card["uri"], load_image, overlay)
        content = {**data, "levels": LEVELS, "cards": _with_pictures(data["cards"], images)}
        page = _Page(content, spool)
        while (size := page.size()) > max_bytes and page.spool.side > SMALLEST_SIDE:
            room = max(0, max_bytes - (size - page.spool.block_bytes()))
            spool = page.spool.shrink(min(0.9, 0.97 * (room / max(1, page.spool.block_bytes())) ** 0.5))
            log.warning(
                "report: %.1f MB would exceed %.0f MB; thumbnails are at most %d pixels instead of %d",
                size / 1e6, max_bytes / 1e6, spool.side, thumb_side,
            )  # fmt: skip
            page = _Page(content, spool)
        if size > max_bytes:
            log.warning("report: %.1f MB even with the smallest thumbnails; show fewer images", size / 1e6)
        write_atomic(out, lambda file: file.writelines(page.chunks()), advice=ADVICE)
        return ReportSummary(out, len(images), out.stat().st_size, spool.side)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror or error}; {ADVICE}") from error
    finally:
        spool.close()


def _with_pictures(cards: list[dict[str, Any]], images: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{**card, "picture": images[card["image_id"]]} for card in cards]


class _Page:
    """The page as chunks of bytes, so that the pictures never stand in memory together."""

    def __init__(self, content: Mapping[str, Any], spool: PictureSpool) -> None:
        self.spool = spool
        measures = [{**m, **spool.heat_range(m["name"])} for m in content["measures"]]
        data = {**content, "measures": measures, "pictures": [asdict(picture) for picture in spool.pictures]}
        style, script = asset("report.css"), "".join(asset(name) for name in SCRIPTS)
        parts = {
            "TITLE": html.escape(str(content["title"])),
            "POLICY": content_policy(style, script),
            "STYLE": style,
            "SCRIPT": script,
            "DATA": json_for_html(data),
        }
        before, after = asset("report.html").split("@PICTURES@")
        self.before, self.after = (
            re.sub("@([A-Z]+)@", lambda found: parts[found[1]], part).encode("utf-8", "replace")
            for part in (before, after)
        )

    def chunks(self) -> Iterator[bytes]:
        yield self.before
        for index, block in enumerate(self.spool.blocks()):
            yield f'<script type="application/json" id="picture-{index}">'.encode() + block + b"</script>\n"
        yield self.after

    def size(self) -> int:
        tags = len('<script type="application/json" id="picture-12345"></script>\n')
        return len(self.before) + len(self.after) + self.spool.block_bytes() + tags * len(self.spool.pictures)


def json_for_html(value: Any) -> str:
    """JSON that cannot end or change the script element it stands in: ASCII only, and no `<`."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def content_policy(style: str, script: str) -> str:
    """A Content-Security-Policy that allows this style and this script and nothing from any network."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)
    )
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; "
        f"script-src 'sha256-{script_hash}'; base-uri 'none'; form-action 'none'"
    )


def asset(name: str, package: str = "alseg_fast.stages") -> str:
    """A file of the folder assets of a package, as text."""
    # A browser reads CRLF as LF, so the hashes of the policy are taken over LF.
    text = (files(package) / "assets" / name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


def check_target(out: Path) -> None:
    """Raises: RunError: a report cannot be written there; known before the work begins."""
    if not out.parent.is_dir():
        raise RunError(f"cannot write {out}: the directory {out.parent} does not exist; make it or change --out")
    if out.is_dir():
        raise RunError(f"cannot write {out}: it is a directory; give a file name such as {out / 'report.html'}")
