"""What HistogramIndex says to wrong input: whole sentences; and that nothing has changed after it."""

import numpy as np
import pyarrow as pa
import pytest

import alseg_fast as alseg

GOOD = np.ones((3, 4), np.float32)
NAN, INF, NEGATIVE, EMPTY = (GOOD.copy() for _ in range(4))
NAN[1, 2] = np.nan
INF[2, 0] = np.inf
NEGATIVE[0, 3] = -0.5
EMPTY[2, 2:] = 0
HUGE = GOOD.astype(np.float64)
HUGE[0, 1] = 1e300
ADD = "HistogramIndex.add: "


@pytest.fixture
def index():
    made = alseg.HistogramIndex(4, channels=2)
    made.add([1, 2], GOOD[:2], ["cat", "dog"])
    return made


@pytest.mark.parametrize(
    ("ids", "hist", "labels", "message"),
    [
        ([3, 4, 5], GOOD[:, :3], "cat", "hist must have shape [n, 4]; got [3, 3]. Pass one histogram a row."),
        ([3, 4, 5], GOOD[0], "cat", "hist must have shape [n, 4]; got [4]. Pass one histogram a row."),
        ([3, 4, 5], GOOD * 1j, "cat", "hist must be real numbers; got complex64. Convert it to float32."),
        (
            [3, 4, 5],
            NAN,
            "cat",
            "hist must be finite in float32; got nan in row 1, column 2. Correct the histogram or leave the row out.",
        ),
        (
            [3, 4, 5],
            INF,
            "cat",
            "hist must be finite in float32; got inf in row 2, column 0. Correct the histogram or leave the row out.",
        ),
        (
            [3, 4, 5],
            HUGE,
            "cat",
            "hist must be finite in float32; got 1e+300 in row 0, column 1. Correct the histogram or leave the row "
            "out.",
        ),
        (
            [3, 4, 5],
            NEGATIVE,
            "cat",
            "hist must be >= 0; got -0.5 in row 0, column 3. Correct the histogram or leave the row out.",
        ),
        (
            [3, 4, 5],
            EMPTY,
            "cat",
            "hist must have a positive sum in every channel; got 0 in channel 1 of row 2. An image without pixels has "
            "no histogram: leave it out.",
        ),
        ([3, 4], GOOD, "cat", "ids must have one entry a row of hist, 3; got 2. Pass one id a row."),
        ([3, 4, 3], GOOD, "cat", "ids must be distinct; got 3 again in row 2. Name each row once."),
        (
            [3, 2, 5],
            GOOD,
            "cat",
            "ids must be new; got 2 in row 1, which is in the index. Remove it first, or leave the row out.",
        ),
        (
            ["a", "b", "c"],
            GOOD,
            "cat",
            "ids must be int64 as in the first add; got str. Convert them, or make another index.",
        ),
        ([3, "b", 5], GOOD, "cat", "ids must be all int64 or all str; got 'b' in row 1. Convert the ids to one kind."),
        (
            [3, True, 5],
            GOOD,
            "cat",
            "ids must be all int64 or all str; got True in row 1. Convert the ids to one kind.",
        ),
        (
            [3, None, 5],
            GOOD,
            "cat",
            "ids must be all int64 or all str; got None in row 1. Convert the ids to one kind.",
        ),
        (
            [3, 2**63, 5],
            GOOD,
            "cat",
            "ids must lie between -2^63 + 1 and 2^63 - 1; got 9223372036854775808 in row 1. Use other ids, or str.",
        ),
        (
            np.array([3, 2**63, 5], np.uint64),
            GOOD,
            "cat",
            "ids must lie between -2^63 + 1 and 2^63 - 1; got 9223372036854775808 in row 1. Use other ids, or str.",
        ),
        (
            [-(2**63), 4, 5],
            GOOD,
            "cat",
            "ids must lie between -2^63 + 1 and 2^63 - 1; got -9223372036854775808 in row 0. Use other ids, or str.",
        ),
        ([[3, 4, 5]], GOOD, "cat", None),
        (np.array([[3], [4], [5]]), GOOD, "cat", "ids must have shape [n]; got [3, 1]. Pass one id a row."),
        ("abc", GOOD, "cat", "ids must be a sequence of ids; got 'abc'. Put a single id into a list."),
        ([3, 4, 5], GOOD, ["cat", "dog"], "labels must have one entry a row, 3; got 2. Pass one label a row."),
        (
            [3, 4, 5],
            GOOD,
            ["cat", None, "dog"],
            "labels must be int or str; got None in row 1. Convert it, or leave the row out.",
        ),
        (
            [3, 4, 5],
            GOOD,
            ["cat", 1.5, "dog"],
            "labels must be int or str; got 1.5 in row 1. Convert it, or leave the row out.",
        ),
        ([3, 4, 5], GOOD, 1.5, "labels must be int or str, one or one a row; got 1.5. Convert them."),
    ],
)
def test_add_is_all_or_nothing(index, ids, hist, labels, message):
    with pytest.raises(alseg.AlsegError) as caught:
        index.add(ids, hist, labels)
    if message is not None:
        assert str(caught.value) == ADD + message
    assert len(index) == 2
    assert index.classes == {"cat": 1, "dog": 1}
    assert index.ids().tolist() == [1, 2]


def test_text_that_utf8_cannot_hold():
    index = alseg.HistogramIndex(4)
    with pytest.raises(alseg.AlsegError) as caught:
        index.add(["a", "\ud800"], GOOD[:2])
    said = "ids must be text that UTF-8 can hold; got '\\ud800' in row 1. Rename it."
    assert str(caught.value) == ADD + said
    index.add(["a"], GOOD[:1])
    assert "\ud800" not in index


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be an integer >= 1; got 0. Pass a whole number."),
        ({"k": 1.5}, "k must be an integer >= 1; got 1.5. Pass a whole number."),
        ({"k": True}, "k must be an integer >= 1; got True. Pass a whole number."),
        ({"multiplier": 0}, "multiplier must be an integer >= 1; got 0. Pass a whole number."),
        (
            {"labels": "cow"},
            "labels must be classes of the index: 'cat', 'dog'; got 'cow'. Choose one of them.",
        ),
        ({"labels": ["cat", "cow", "cat"]}, "labels must be classes of the index: 'cat', 'dog'; got 'cow'. "),
        ({"labels": None}, "labels must be classes of the index: 'cat', 'dog'; got None. Choose one of them."),
        ({"labels": 0}, "labels must be classes of the index: 'cat', 'dog'; got 0. Choose one of them."),
        ({"exclude": [1]}, "exclude must have one id a query, 3; got 1. Use None for a query that leaves out nothing."),
        ({"exclude": 1}, "exclude must be None or one id a query; got 1. Put it into a list."),
        ({"exclude": ["a", "b", "c"]}, "exclude must be int64 as in the first add; got str. "),
        ({"within": np.nan}, "within must be a number, or one a query (3), in nats; got nan. Use inf for no limit."),
        ({"within": [1, 2]}, "within must be a number, or one a query (3), in nats; got [1, 2]. "),
        ({"num_threads": 0}, "num_threads must be None or an integer >= 1; got 0. None uses every CPU."),
        ({"queries": EMPTY}, "queries must have a positive sum in every channel; got 0 in channel 1 of row 2. "),
        ({"queries": NAN}, "queries must be finite in float32; got nan in row 1, column 2. "),
        ({"queries": GOOD[:, :2]}, "queries must have shape [n, 4]; got [3, 2]. Pass one histogram a row."),
    ],
)
def test_search_says_what_is_wrong(index, arguments, message):
    with pytest.raises(alseg.AlsegError) as caught:
        index.search(**{"queries": GOOD, "labels": "cat", **arguments})
    assert str(caught.value).startswith("HistogramIndex.search: " + message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0}, "dim must be an integer >= 1; got 0."),
        ({"dim": 7, "channels": 3}, "dim must be a multiple of channels; got 7 and 3."),
        ({"metric": "l2"}, "metric must be one of js; got 'l2'."),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda; got 'tpu'."),
        ({"dtype": "float64"}, "dtype must be one of float32, float16; got 'float64'."),
        ({"cells": 0}, "cells must be an integer >= 1; got 0."),
        ({"seed": -1}, "seed must be an integer >= 0; got -1."),
        ({"max_rows_exact": 1}, "max_rows_exact must be an integer >= 2; got 1."),
        (
            {"weights": [1, 2, 3]},
            "weights must be None, 'published' or 2 positive numbers, one a channel; got [1, 2, 3].",
        ),
        ({"weights": [1, 0]}, "weights must be None, 'published' or 2 positive numbers, one a channel; got [1, 0]."),
        ({"weights": "equal"}, "weights must be None, 'published' or 2 positive numbers, one a channel; got 'equal'."),
    ],
)
def test_settings_are_checked(arguments, message):
    with pytest.raises(alseg.AlsegError) as caught:
        alseg.HistogramIndex(**{"dim": 4, "channels": 2, **arguments})
    assert str(caught.value).startswith("HistogramIndex: " + message)


def test_an_empty_index():
    index = alseg.HistogramIndex(4)
    assert len(index) == 0
    assert index.classes == {}
    assert index.ids().tolist() == []
    assert 3 not in index
    index.add([], np.empty((0, 4)))
    index.optimize()
    for ask in (lambda: index.search(GOOD), lambda: index.channel_weights()):
        with pytest.raises(alseg.AlsegError, match=r"the index must hold rows; got an empty one\. Add rows first\."):
            ask()
    with pytest.raises(alseg.AlsegError, match="ids must be in the index; got 3 in row 0"):
        index.remove([3])


def test_ids_that_are_not_there(index):
    for method in (index.remove, index.rows, index.labels_of):
        with pytest.raises(alseg.AlsegError, match="ids must be in the index; got 7 in row 1"):
            method([1, 7])
        with pytest.raises(alseg.AlsegError, match="ids must be in the index; got 'x' in row 0"):
            method(["x"])
    with pytest.raises(alseg.AlsegError, match="ids must be distinct; got 1 twice"):
        index.remove([1, 2, 1])
    assert len(index) == 2
    assert [1 in index, 3 in index, "1" in index, None in index, 1.0 in index] == [True, False, False, False, False]
    assert index.contains([1, 5]).tolist() == [True, False]


def test_input_of_every_kind_gives_the_same_index():
    rng = np.random.default_rng(0)
    hist = rng.integers(1, 9, (6, 4))
    wide = np.zeros((12, 8))
    wide[::2, ::2] = hist
    reference = None
    for given in (
        hist,
        hist.astype(np.uint8),
        hist.astype(">f8"),
        hist.astype(np.float16),
        wide[::2, ::2],
        hist.tolist(),
    ):
        names = [str(i) for i in range(6)]
        for ids in (
            names,
            np.array(names),
            np.array(names, object),
            pa.array(names),
            pa.chunked_array([names[:2], names[2:]]),
        ):
            index = alseg.HistogramIndex(4)
            index.add(ids, given, np.array(["a", "b"] * 3))
            found = index.search(hist, ["a", "b"] * 3, 3)
            reference = reference or found
            assert np.array_equal(found.ids, reference.ids)
            assert np.array_equal(found.distances, reference.distances)
    for ids in (range(6), np.arange(6, dtype=np.int16), pa.array(range(6)), tuple(range(6))):
        index = alseg.HistogramIndex(4)
        index.add(ids, hist, (7,) * 6)
        assert index.classes == {7: 6}
        assert index.ids(7).tolist() == list(range(6))


def test_the_index_keeps_a_copy():
    hist, ids = np.ones((3, 4), np.float32), np.arange(3)
    index = alseg.HistogramIndex(4)
    index.add(ids, hist)
    hist[:], ids[:] = 0, 9
    assert index.ids().tolist() == [0, 1, 2]
    assert (index.rows([0, 1, 2]) == 1).all()
