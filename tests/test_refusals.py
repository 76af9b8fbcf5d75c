"""Proves that what PyTorch refuses is refused in words, by the library and by the command line."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import REFUSALS
from test_goldens import spelled

import poolcli

UNSPEAKABLE = {"fractional-sample-1"}  # samples are given from Python alone


def by_id(case):
    return case.id


def refused(case):
    """Return the error of the library, or None where there is a result."""
    array = np.zeros(case.shape, case.dtype)
    try:
        result = poolcli.pool(array, case.method, engine="numpy", layout=case.layout, **case.arguments)
    except poolcli.PoolError as error:
        return error
    assert result.ndim == array.ndim
    return None


@pytest.mark.parametrize("case", REFUSALS, ids=by_id)
def test_the_library_refuses_what_breaks_a_rule(case):
    error = refused(case)
    assert (error is None) == case.allowed, case.rule
    if error:
        assert " must " in error.message
        assert "\n" not in error.message
        assert len(error.message) < 300
        assert error.exit_code in {2, 3}


@pytest.mark.parametrize("case", [case for case in REFUSALS if case.id not in UNSPEAKABLE], ids=by_id)
def test_the_command_line_refuses_the_same_with_its_exit_code(cli, case):
    np.save("x.npy", np.zeros(case.shape, case.dtype))
    words = [word for name, value in case.arguments.items() for word in spelled(name, value)]
    done = cli("pool", "x.npy", "-o", "y.npy", "-q", "--layout", case.layout, "--method", case.method, *words)
    error = refused(case)
    if error is None:
        assert (done.code, done.err) == (0, "")
        return
    assert done.code == error.exit_code
    assert done.err.startswith("error: ")
    assert done.err.count("\n") <= 2  # the error and a hint
    name = error.message.partition(" ")[0]
    assert name in done.err or case.rule == "only the batch may be empty"  # which the reader says in its own words
