"""A whole simulation: config in, rounds of every strategy and seed, results out."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import asdict
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch

from .. import __version__, atomic
from ..errors import RunError
from ..freed_memory import keep_freed_memory
from ..learn.training.directory import json_bytes
from ..stages.own_directory import locked
from .common import Common, prepare
from .config import SimulationConfig, strategy_options
from .image_round import Run
from .images import run_strategy, start_images, start_seed
from .pixels import PixelRun, run_pixel_strategy, start_pixel_seed
from .rows import RoundRow
from .steps import Tell

FORMAT = 1
CONFIG = "config.json"
RESULTS = "results.parquet"
PAGE = "index.html"
ROWS = "rows.json"
_WATCH = 0.2  # seconds between looks at the parent
_SHOW = 1.0  # seconds between looks at what other processes have done


def run_simulation(
    config: SimulationConfig, out: Path | str, *, source: str = "config", tell: Tell = lambda text: None
) -> list[RoundRow]:
    """Run all strategies with all seeds; the same call again goes on where a kill stopped it.

    OUT/ holds config.json, start/ (the oracle's masks, manifests, classifier), seed-<s>/start/ (first purchase and
    training), seed-<s>/<strategy>/round-<r>/ (steps/, networks, RUN, batches, labels, masks, commands.txt) and, after
    every run, results.parquet and index.html. Strategies, seeds and rounds may be added later to the same directory.

    Args:
        source: the config's name in messages.
        tell: told of every step, in this process.
    Raises:
        UsageError: data or options do not fit. RunError: the directory is something else, or in use.
        AlsegError: a step went wrong; what is finished is kept.
    """
    threads = torch.get_num_threads()
    try:
        return _simulate(config, Path(out).absolute(), source, tell)
    finally:
        torch.set_num_threads(threads)


def _simulate(config: SimulationConfig, root: Path, source: str, tell: Tell) -> list[RoundRow]:
    for number in range(len(config.strategies)):
        strategy_options(config, number, source)
    with locked(root):
        _open(root, config)
        common = _prepared(config, root, tell)
        if config.images is not None:
            start_images(common)
        # Seeds side by side first: runs of one seed wait for the start that they share.
        runs = [(seed, number) for number in range(len(config.strategies)) for seed in config.seeds]
        if config.processes == 1 or len(runs) == 1:
            for seed, number in sorted(runs):
                _run(common, seed, number, source)
                write_results(config, root, _finished(config, root))
        else:
            _in_processes(config, root, source, tell, runs)
    return _finished(config, root)


def write_results(config: SimulationConfig, root: Path, rows: Sequence[RoundRow]) -> None:
    """results.parquet and index.html, in the order of the config's strategies and seeds."""
    from .results.page import write_page
    from .results.store import write_rows

    write_rows(root / RESULTS, rows)
    write_page(rows, root / PAGE, published=config.published, deviations=config.deviations, title=config.title)


def _prepared(config: SimulationConfig, root: Path, tell: Tell) -> Common:
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return prepare(config, root, tell)


def _run(common: Common, seed: int, number: int, source: str) -> None:
    """One strategy with one seed; its rows in its directory's rows.json."""
    folder, config = common.root / f"seed-{seed}", common.config
    strategy, options = config.strategies[number], strategy_options(config, number, source)
    directory = folder / strategy.directory
    with locked(folder / "start", wait=common.side_by_side):
        start = start_seed if config.images is not None else start_pixel_seed
        shared = start(common, seed, folder / "start")
    with locked(directory, wait=common.side_by_side):
        facts = {"name": strategy.name, "setting": strategy.setting, "options": options.model_dump(mode="json")}
        _check_same(directory, facts, "strategy")
        if config.images is not None:
            rows = run_strategy(Run(common, seed, strategy, options, shared, directory))
        else:
            rows = run_pixel_strategy(PixelRun(common, seed, strategy, options, shared, directory))
        atomic.write_atomic(directory / ROWS, json_bytes([asdict(row) for row in rows]))
    last = rows[-1]
    place = f"{number + 1} of {len(config.strategies)}"
    common.tell(f"seed {seed}, {strategy.directory} ({place}): score {last.score:.4f} after round {last.round}")


def _finished(config: SimulationConfig, root: Path) -> list[RoundRow]:
    """The rows of all runs that are over, in the config's order."""
    rows: list[RoundRow] = []
    for seed in config.seeds:
        for strategy in config.strategies:
            path = root / f"seed-{seed}" / strategy.directory / ROWS
            if path.exists():
                rows += [RoundRow(**row) for row in json.loads(path.read_bytes())]
    return rows


def _in_processes(
    config: SimulationConfig, root: Path, source: str, tell: Tell, runs: Sequence[tuple[int, int]]
) -> None:
    context = multiprocessing.get_context("spawn")
    told: SimpleQueue[str] = context.SimpleQueue()  # a child's own streams may lead elsewhere, or nowhere
    with ProcessPoolExecutor(
        min(config.processes, len(runs)),
        mp_context=context,
        initializer=_begin_child,
        initargs=(os.getpid(), told, config, root),
    ) as pool:
        children = [pool.submit(_child, seed, number, source) for seed, number in runs]
        shown = 0
        try:
            while True:
                over, left = wait(children, timeout=_SHOW, return_when=FIRST_EXCEPTION)
                while not told.empty():
                    tell(told.get())
                for future in over:
                    future.result()
                rows = _finished(config, root)
                if len(rows) != shown:
                    write_results(config, root, rows)
                    shown = len(rows)
                if not left:
                    return
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise


_begun: list[tuple[SimpleQueue[str], SimulationConfig, Path]] = []  # of a child, one
_common: list[Common] = []


def _begin_child(parent: int, told: SimpleQueue[str], config: SimulationConfig, root: Path) -> None:
    _end_with(parent)
    keep_freed_memory()
    _begun[:] = [(told, config, root)]


def _child(seed: int, number: int, source: str) -> None:
    told, config, root = _begun[0]
    if not _common:
        _common.append(_prepared(config, root, told.put))
    _run(_common[0], seed, number, source)


def _end_with(parent: int) -> None:
    """A killed simulation must not leave processes behind that go on writing."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _open(root: Path, config: SimulationConfig) -> None:
    """Begin a simulation in ROOT, or go on with one of the same config."""
    atomic.remove_leftovers(root)
    others = sorted(n for n in os.listdir(root) if not atomic.is_temp_name(n) and n != "lost+found")
    if others and not (root / CONFIG).exists():
        raise RunError(f"{root} is not empty and not a simulation (it has {others[0]}); choose another --out")
    _check_same(root, config.facts(), "simulation")


def _check_same(folder: Path, facts: Mapping[str, Any], what: str) -> None:
    """Note `facts` in FOLDER/config.json, or compare them with those noted there.

    Raises: RunError: they differ, or the file is damaged.
    """
    atomic.make_directory(folder)
    path = folder / CONFIG
    facts = json.loads(json.dumps(facts, allow_nan=False))
    if not path.exists():
        atomic.write_atomic(path, json_bytes({"format": FORMAT, "alseg_version": __version__, "config": facts}))
        return
    try:
        made = json.loads(path.read_bytes())["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged; delete {folder} or choose another --out") from error
    keys = sorted(k for k in {*made, *facts} if made.get(k) != facts.get(k))
    if keys:
        had, wants = (json.dumps(v.get(keys[0]))[:200] for v in (made, facts))
        raise RunError(f"{folder} is a {what} with {keys[0]} = {had}, this command asks for {wants}; use another --out")
