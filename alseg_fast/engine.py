"""Composes the stages: the scorer object, and scoring a pool into a RUN. The only file that sees them all."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import config as environment
from .checks import check_choice, check_subset
from .errors import ModelError, RunError, UsageError
from .kernels.uncertainty import uncertainty as uncertainty_op
from .pipeline import Stage, run_ordered
from .process_facts import peak_rss_bytes, versions
from .runtimes.onnx import load_model
from .runtimes.options import ModelOptions
from .runtimes.spec import ModelSpec
from .score_pictures import collect_rows, fetch_picture, picture_of, run_batches, write_maps
from .score_results import PoolSummary, ScoreResult, result_of
from .seats import Seats
from .stages.decode import DEFAULT_MAX_PIXELS
from .stages.histogram import parse_histogram
from .stages.image_tags import LABEL, NO_TAGS, PoolTags, tags_of_values
from .stages.pool import Pool, open_pool
from .stages.readers.uris import is_remote
from .stages.region_cache import RegionCache
from .stages.region_rows import regions_table
from .stages.regions import parse_regions
from .stages.run_layout import histogram_field, published_field
from .stages.score import SCORE_SIZES, label_names, measure_range, published_columns
from .stages.store import SHARD_SIZE, RunWriter
from .types import MC_MEASURES, MEASURES, NO_HISTOGRAM, NO_REGIONS
from .worker import Batch, Clock, MemoryGate, Picture, ScoreConfig, Worker, batches_of

log = logging.getLogger("alseg")

Progress = Callable[[int, int], None]  # (images done, of which failed) since the last call

_REMOTE_FETCHERS = 8  # requests in flight for a pool behind a URL, where waiting is all there is to do
_GROUP = 4  # pictures that change threads together


class Scorer:
    """A model and how its outputs are scored. Thread-safe: one object may serve many threads.

    Args:
        model: path of an ONNX segmentation network.
        measures: any of entropy, margin, least_confidence; with several passes also expected_entropy,
            mutual_information, variance, variation_ratio.
        options: what ONNX metadata and the sidecar file do not say about the model.
        device: "auto" | "cpu" | "cuda" | "cuda:I".
        workers: threads that decode, run the model and score; None: one a CPU.
        score_size: "input" measures at the resolution the model saw, "image" at each picture's own.
        top_fraction: share of the pixels behind `<measure>_top`.
        batch_size: pictures a model call. On a CPU 1 is fastest.
        max_pixels: pictures above this are refused before they are decoded.
        mc_passes: how many of the model's passes to use, the first ones; None: all. A model gives passes when its
            graph does, (N, T, C, h, w); ``alseg_fast.export`` writes such graphs.
        regions: "none", "slic:K" (superpixels; "slic:K:COMPACTNESS", "slico:K") or "grid:P" (squares of P pixels):
            also score the regions of each picture. They are cut at the resolution of the scores, see `score_size`.
        crf: also the class and entropy of every region after a mean field over neighbouring regions.
        region_cache: directory in which superpixels are kept for later runs on the same pictures.
        histogram: "none", or the colour histogram to add to the scores: "rgb:32", "hsv:16", "lab:8:joint",
            "belharbi" (see ``alseg.HistogramSpec``); always of the picture at its own size, whatever the model sees.
        histogram_dtype: "float16" or "float32".
        published: also the columns belharbi_entropy and, with several passes, belharbi_mc_dropout: the scores of
            Belharbi et al. as their code computes them, see :func:`alseg_fast.belharbi_entropy`; for models of one
            foreground whose pictures are stretched. To select by them: strategy "top" with the column as measure.
    Raises:
        ModelError, UsageError, BackendError: the message says which argument and what to do.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        measures: Sequence[str] = ("entropy",),
        options: ModelOptions | None = None,
        device: str = "auto",
        workers: int | None = None,
        score_size: str = "input",
        top_fraction: float = 0.05,
        batch_size: int = 1,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        mc_passes: int | None = None,
        regions: str = NO_REGIONS,
        crf: bool = False,
        region_cache: str | os.PathLike[str] | None = None,
        histogram: str = NO_HISTOGRAM,
        histogram_dtype: str = "float16",
        published: bool = False,
    ) -> None:
        name = "Scorer"
        chosen = check_subset(name, "measures", measures, MEASURES)
        if not chosen:
            raise UsageError(f"{name}: measures must not be empty; got {measures!r}. Use ('entropy',).")
        counts = {"workers": workers, "batch_size": batch_size, "max_pixels": max_pixels, "mc_passes": mc_passes}
        for what, value in counts.items():
            if value is not None and value < 1:
                raise UsageError(f"{name}: {what} must be at least 1; got {value}.")
        if not 0.0 < top_fraction <= 1.0:
            raise UsageError(f"{name}: top_fraction must be in (0, 1]; got {top_fraction}.")
        check_choice(name, "score_size", score_size, SCORE_SIZES)
        plan = parse_regions(regions)
        if plan is None and (crf or region_cache is not None):
            raise UsageError(f"{name}: crf and region_cache need regions; got regions={regions!r}. Use 'slic:400'.")
        self._plan = plan
        self._histogram = parse_histogram(histogram, histogram_dtype)
        self._region_cache = None if region_cache is None else RegionCache(region_cache)
        self._options = options or ModelOptions()
        cpus = environment.available_cpus()
        self.workers = cpus if workers is None else workers
        # One thread a session call and one call a core beats one call on all cores (see benches/README.md);
        # with fewer workers than cores the session gets the rest.
        self._model = load_model(model, options, device=device, threads=max(1, cpus // self.workers))
        self.spec: ModelSpec = self._model.spec
        self.device: str = self._model.device
        for warning in self._model.warnings:
            log.warning("%s", warning)
        self.config = ScoreConfig(
            measures=chosen,
            score_size=score_size,
            top_fraction=top_fraction,
            batch_size=batch_size,
            max_pixels=max_pixels,
            mc_passes=self.spec.n_passes if mc_passes is None else mc_passes,
            regions=NO_REGIONS if plan is None else str(plan),
            crf=bool(crf),
            histogram=NO_HISTOGRAM if self._histogram is None else str(self._histogram.spec),
            histogram_dtype=histogram_dtype,
            published=bool(published),
        )
        self._check_model()
        if self.device != "cpu":
            uncertainty_op.resolve("cuda")  # a missing back end must be known before the first picture
        self._gate = MemoryGate()

    def _check_model(self) -> None:
        spec = self.spec
        if self.config.mc_passes > spec.n_passes:
            raise ModelError(
                f"model {spec.path} gives {spec.n_passes} pass(es) an image, not {self.config.mc_passes}; export it "
                f"with that many (alseg_fast.export.to_onnx(..., mc_passes={self.config.mc_passes})), or ask for fewer"
            )
        comparing = [m for m in self.config.measures if m in MC_MEASURES]
        if comparing and self.config.mc_passes == 1:
            raise UsageError(
                f"Scorer: {comparing[0]} compares several passes, but one pass an image is scored; use a model that "
                "gives passes (alseg_fast.export), more --mc-passes, or other measures"
            )
        one_foreground = spec.n_classes == 1 or (spec.n_classes == 2 and spec.activation == "softmax")
        if self.config.published and not (one_foreground and spec.activation != "cam" and spec.resize == "stretch"):
            raise UsageError(
                "Scorer: published must be False for this model; got True. The published scores are defined for one "
                f"foreground and stretched pictures, {spec.path} has {spec.n_classes} channel(s), activation "
                f"{spec.activation} and resize {spec.resize}."
            )
        if spec.n_classes == 1 and spec.activation == "softmax":
            raise ModelError(
                f"model {spec.path} has one output channel, which softmax cannot score; "
                "state --activation sigmoid (logits) or probabilities"
            )
        if spec.resize == "short-side" and spec.fixed_size:
            raise ModelError(
                f"model {spec.path} takes only {spec.input_size[0]}x{spec.input_size[1]} images, which --resize "
                "short-side cannot give; use stretch or letterbox"
            )
        if spec.batch is not None and self.config.batch_size > spec.batch:
            raise ModelError(
                f"model {spec.path} takes {spec.batch} image(s) a call; use --batch-size {spec.batch} or less"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the label ids; two for a one-channel model."""
        return label_names(self.spec)

    def score_images(
        self,
        images: Sequence[NDArray[np.uint8] | bytes | str | os.PathLike[str]],
        *,
        maps: bool = False,
        image_labels: Any = None,
    ) -> list[ScoreResult]:
        """Score a few pictures in this process.

        Args:
            images: [h, w, 3] uint8 RGB arrays, encoded bytes, paths or URLs, mixed as you like.
            maps: also return heatmaps and label maps.
            image_labels: which classes are in each picture, for a model of activation maps, whose other maps then
                count nothing: one entry a picture, each None (all classes may be), a name, "a,b,c" or a list of names;
                or an array [N, C], nonzero where the class is present.
        Returns: one result a picture, in order; a picture that cannot be read has ``ok=False``.
        """
        config = replace(self.config, maps=maps)
        pictures = [picture_of(i, image) for i, image in enumerate(images)]
        if image_labels is not None:
            if self.spec.activation != "cam":
                raise UsageError(
                    "score_images: image_labels must be None for a model of activation "
                    f"{self.spec.activation}; got {image_labels!r}. They belong to activation maps (cam)."
                )
            tags = tags_of_values(image_labels, len(pictures), self.spec.classes, "score_images")
            for picture, present in zip(pictures, tags, strict=True):
                picture.about = present
        batches = [Batch(list(b)) for b in batches_of(pictures, config.batch_size)]
        stages = self._stages(config, Clock(), [])
        for _ in run_ordered(batches, stages, in_flight=4 * self.workers):
            pass
        return [result_of(p) for p in pictures]

    def score_pool(
        self,
        pool: str | os.PathLike[str] | Pool,
        out: str | os.PathLike[str],
        *,
        maps: bool = False,
        tags: str = "label",
        shard: tuple[int, int] = (0, 1),
        shard_size: int = SHARD_SIZE,
        overwrite: bool = False,
        storage_options: dict[str, Any] | None = None,
        progress: Progress | None = None,
        on_start: Callable[[int, int], None] | None = None,
    ) -> PoolSummary:
        """Score a pool into the directory `out`, going on where an earlier call stopped.

        Args:
            pool: whatever :func:`open_pool` takes, or its result.
            maps: write 8-bit heatmaps and label maps.
            tags: where a model of activation maps learns which classes are in a picture: "label", the pool's column of
                that name (a name, "a,b,c" or a list of names; of a picture without any, and of a pool without the
                column, all classes may be present), or "none". Other models take no notice.
            shard: (I, N), 0 <= I < N: this call does every N-th part, so that N machines can share `out`.
            shard_size: images a part.
            overwrite: delete what an earlier RUN left in `out` first.
            progress: called with (images done, of which failed) since the last call.
            on_start: called with (images of this call, of which done already) before work begins.
        Raises: PoolError, RunError, UsageError, ModelError. Pictures that fail are recorded, not raised.
        """
        check_choice("score_pool", "tags", tags, (LABEL, NO_TAGS))
        listing = pool if isinstance(pool, Pool) else open_pool(pool, storage_options=storage_options)
        config = replace(self.config, maps=maps)
        known = self._tags(listing, tags)
        writer = RunWriter.open(
            out,
            pool=listing.table,
            pool_info={
                "source": listing.source,
                "kind": listing.kind,
                "skipped_files": listing.skipped_files,
                **({} if known is None else {"untagged_images": known.untagged}),
            },
            config=self._identity(config, known),
            model={
                "path": os.path.abspath(self.spec.path),
                "sha256": self.spec.sha256,
                "spec": self.spec.identity(),
                "options": self._options.to_json(),
            },
            classes=self.classes,
            measures=config.measures,
            score_schema_extra=self._extra_columns(),
            map_ranges={m: measure_range(m, self.spec) for m in config.measures},
            versions=versions(),
            shard_size=shard_size,
            shard=shard,
            overwrite=overwrite,
        )
        remote = is_remote(listing.table.column("uri")[0].as_py())
        del listing, pool  # the writer reads the listing from its snapshot on disk
        tagged = known is not None and known.digest != ""
        return self._run(writer, config, tagged, remote, storage_options, progress, on_start)

    def _tags(self, pool: Pool, tags: str) -> PoolTags | None:
        """What the pool says of its pictures, checked; None where it does not matter."""
        if self.spec.activation != "cam":
            return None
        has = LABEL in pool.table.column_names
        table = pool.table.drop_columns([LABEL]) if has and tags == NO_TAGS else pool.table
        known = PoolTags(table, self.spec.classes, pool.source)
        if known.untagged:
            log.warning(
                "%d of %d images have no label; every class of the activation maps may be in them",
                known.untagged,
                known.images,
            )
        return known

    def _identity(self, config: ScoreConfig, tags: PoolTags | None) -> dict[str, Any]:
        identity = {**asdict(config), "measures": list(config.measures)}
        if tags is not None:
            identity["image_labels"] = tags.digest or NO_TAGS
        if self._histogram is None:  # as RUNs say it that were made before there were histograms
            del identity["histogram"], identity["histogram_dtype"]
        if not self.config.published:
            del identity["published"]
        return identity

    def _extra_columns(self) -> list[Any]:
        columns = []
        if self.config.published:
            columns = [published_field(name) for name in published_columns(self.config.mc_passes)]
        if self._histogram is not None:
            spec = self._histogram.spec
            columns.append(histogram_field(str(spec), spec.dim, self._histogram.dtype))
        return columns

    def reduce_pool(
        self,
        rows: Iterable[tuple[str, str, int | None, int | None] | Picture],
        make_reducer: Callable[[], Any],
        *,
        remote: bool = False,
        storage_options: dict[str, Any] | None = None,
    ) -> Generator[Picture, None, None]:
        """Run the model on pictures and reduce the logits in another way than to scores.

        Args:
            rows: image_id, uri, offset, size, as a pool has them, or pictures with such a key and what the reducer
                is to know `about` them; read in a thread of its own.
            make_reducer: called once a thread; its `reduce` is called as that of `stages.score.Reducer`.
            remote: whether the uris lead over a network.
        Yields: the pictures in order, `scored` what the reducer gave, or `failure` set.
        """

        def fetch(_: None, batch: Batch) -> Batch:
            for picture in batch.pictures:
                fetch_picture(picture, storage_options)
            return batch

        def batches() -> Iterator[Batch]:
            pictures: list[Picture] = []
            for row in rows:
                pictures.append(row if isinstance(row, Picture) else Picture(row))
                if len(pictures) == self.config.batch_size:
                    yield Batch(pictures)
                    pictures = []
            if pictures:
                yield Batch(pictures)

        fetchers = _REMOTE_FETCHERS if remote else 1
        stages = self._stages(self.config, Clock(), [Stage("fetch", fetch, fetchers)], make_reducer)
        in_flight = max(4, 3 * self.workers) + (_REMOTE_FETCHERS if remote else 0)
        with closing(run_ordered(batches(), stages, in_flight=in_flight)) as results:
            for batch in results:
                yield from batch.pictures

    def _stages(
        self, config: ScoreConfig, clock: Clock, before: list[Stage], make_reducer: Callable[[], Any] = lambda: None
    ) -> list[Stage]:
        """On a CPU one thread takes a picture all the way; with an accelerator decoding runs ahead of it."""

        seats = Seats()

        def worker() -> Worker:
            return Worker(self._model, config, clock, self._gate, seats, self._region_cache, make_reducer())

        if self.device == "cpu":
            return [*before, Stage("score", Worker.run, self.workers, worker)]

        def prepare(state: Worker, batch: Batch) -> Batch:
            return state.prepare(batch, own_memory=True)

        return [
            *before,
            Stage("decode", prepare, self.workers, worker),
            Stage("infer", Worker.compute, 1, worker),
        ]

    def _run(
        self,
        writer: RunWriter,
        config: ScoreConfig,
        tagged: bool,
        remote: bool,
        storage_options: dict[str, Any] | None,
        progress: Progress | None,
        on_start: Callable[[int, int], None] | None,
    ) -> PoolSummary:
        start = time.perf_counter()
        clock = Clock()
        todo = list(writer.pending())
        mine = list(writer.own_shards())
        sizes = {i: min(writer.shard_size, writer.images - i * writer.shard_size) for i in mine}
        images, skipped = sum(sizes.values()), sum(sizes[i] for i in set(mine) - set(todo))
        if on_start:
            on_start(images, skipped)

        def fetch(_: None, batch: Batch) -> Batch:
            with clock.stage("fetch"):
                for picture in batch.pictures:
                    fetch_picture(picture, storage_options)
            return batch

        def write(_: None, batch: Batch) -> Batch:
            with clock.stage("write"):
                for picture in batch.pictures:
                    write_maps(writer, picture)
            return batch

        stages = self._stages(config, clock, [Stage("fetch", fetch, _REMOTE_FETCHERS if remote else 1)])
        if config.maps:
            stages.append(Stage("write", write, 1))
        scored = failed = 0
        rows: list[dict[str, Any]] = []
        failures: list[dict[str, str]] = []
        regions: list[tuple[str, dict[str, Any]]] = []
        group = max(1, _GROUP // config.batch_size)
        in_flight = group * (max(4, 3 * self.workers) + (_REMOTE_FETCHERS if remote else 0))
        batches = run_batches(writer, todo, config.batch_size, self.spec.classes if tagged else None)

        def timings() -> dict[str, Any]:
            return {
                "wall_seconds": time.perf_counter() - start,
                "cpu_seconds": {k: round(v, 6) for k, v in clock.seconds.items()},
                "peak_rss_bytes": peak_rss_bytes(),
            }

        try:
            with closing(run_ordered(batches, stages, in_flight=in_flight, group=group)) as results:
                for batch in results:
                    broken = 0
                    for picture in batch.pictures:
                        broken += picture.failure is not None
                        collect_rows(picture, rows, failures, regions)
                    index, last = batch.tag
                    if last:
                        table = regions_table(regions, config.measures, crf=config.crf) if self._plan else None
                        writer.commit(index, rows, failures, table)
                        rows, failures, regions = [], [], []
                    scored += len(batch.pictures) - broken
                    failed += broken
                    if progress:
                        progress(len(batch.pictures), broken)
        except BaseException:
            with suppress(RunError):  # a disk that is full for a part is full for its counts; the first error counts
                writer.finish(timings())
            raise
        summary = writer.finish(timings())
        seconds = time.perf_counter() - start
        return PoolSummary(writer.path, scored, failed, skipped, seconds, summary)
