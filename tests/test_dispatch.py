"""The registry: preferences, reasons, forcing, and no silent fallback."""

import pytest

from alseg_fast.dispatch import BACKENDS, Impl, Op, use_backend
from alseg_fast.errors import BackendError, UsageError

PACKAGE = "alseg_fast.kernels.uncertainty"


def op_of(*impls):
    return Op(PACKAGE, impls)


NATIVE = Impl("native", "native_cpu:uncertainty", device="cpu")
GONE = Impl("numba", "numba_cpu:uncertainty", device="cpu", needs=("no_such_package",))
REFERENCE = Impl("reference", "reference:uncertainty", device="cpu")


def test_the_first_that_can_run_is_taken():
    assert op_of(GONE, NATIVE, REFERENCE).resolve("cpu") is NATIVE


def test_the_reference_never_runs_unasked():
    with pytest.raises(BackendError) as caught:
        op_of(GONE, REFERENCE).resolve("cpu")
    assert str(caught.value) == (
        "uncertainty: no backend can run this call on cpu: numba: no_such_package is not installed; "
        "reference: runs only when it is asked for (ALSEG_BACKEND=reference)."
    )


def test_forced_means_forced():
    with use_backend("reference"):
        assert op_of(NATIVE, REFERENCE).resolve("cpu") is REFERENCE
    with use_backend("numba"), pytest.raises(BackendError, match="no_such_package is not installed"):
        op_of(NATIVE, GONE).resolve("cpu")


def test_forcing_by_the_environment(monkeypatch):
    monkeypatch.setenv("ALSEG_BACKEND", "reference")
    assert op_of(NATIVE, REFERENCE).resolve("cpu") is REFERENCE
    monkeypatch.setenv("ALSEG_BACKEND", "cuda")
    with pytest.raises(BackendError, match=r"must be one of triton, native, .*; got 'cuda'"):
        op_of(NATIVE, REFERENCE).resolve("cpu")


def test_an_unknown_name_is_a_usage_error():
    with pytest.raises(UsageError, match="name must be one of"), use_backend("fortran"):
        pass


def test_limits_give_their_reason():
    def limit(n):
        return "takes at most 3" if n > 3 else None

    small = Impl("native", "native_cpu:uncertainty", device="cpu", limits=limit)
    assert op_of(small).resolve("cpu", 3) is small
    with pytest.raises(BackendError, match="native: takes at most 3"):
        op_of(small).resolve("cpu", 4)


def test_a_cuda_call_never_runs_on_the_cpu():
    with pytest.raises(BackendError, match="native: runs on cpu"):
        op_of(NATIVE).resolve("cuda")


def test_an_error_in_a_limit_is_a_bug_and_shows():
    broken = Impl("native", "native_cpu:uncertainty", device="cpu", limits=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        op_of(broken, REFERENCE).resolve("cpu")


def test_explain_lists_every_implementation():
    explained = op_of(GONE, NATIVE, REFERENCE).explain("cpu")
    assert [(i.backend, r) for i, r in explained] == [
        ("numba", "no_such_package is not installed"),
        ("native", None),
        ("reference", None),
    ]


def test_known_backends_are_the_contract():
    assert set(BACKENDS) == {"triton", "native", "faiss", "numba", "reference"}
