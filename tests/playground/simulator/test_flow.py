# SPDX-License-Identifier: Apache-2.0

"""Requests through a hand-made system: what a fault at one place does at the others."""

from __future__ import annotations

import numpy as np
import pytest

from opx.playground.simulator import faults, flow
from opx.playground.simulator.faults import Cause, Cell, Fault, Shape
from opx.playground.simulator.flow import Flow
from opx.playground.simulator.graphs import Call, Node, Role, System

ONE = np.ones(1)


def node(name: str, own_ms: float, busy: float = 0.5, parallel: bool = False) -> Node:
    return Node(
        name=name, role=Role.SERVICE, own_ms=own_ms, busy=busy, noise=0.0, parallel=parallel
    )


def call(caller: int, callee: int, often: float = 1, retries: int = 0, **more: float) -> Call:
    essential, patience = more.get("essential", 1.0), more.get("patience", 1e9)
    return Call(
        caller=caller,
        callee=callee,
        often=often,
        essential=essential,
        retries=retries,
        patience=patience,
    )


def system(*calls: Call, parallel: bool = False) -> System:
    """web (10 ms) calls shop (20 ms) and db (5 ms), half busy at 100 requests a second."""
    return System(
        nodes=(node("web", 10, parallel=parallel), node("shop", 20), node("db", 5)),
        calls=calls,
        back=(),
        demand=(100.0, 0.0, 0.0),
    )


def run(of: System, *wrong: Fault) -> Flow:
    strain = faults.calm(len(of.nodes), 1)
    for fault in wrong:
        faults.apply(strain, fault, ONE)
    return flow.run(of, np.array(of.demand)[:, None], strain)


def fault(cause: Cause, node: int, strength: float = 1.0, callee: int = -1) -> Fault:
    return Fault(cell=Cell(cause, Shape.STEP), node=node, strength=strength, callee=callee)


def test_calls_in_turn_add_up_and_calls_at_once_take_as_long_as_the_longest() -> None:
    """Half busy doubles everybody's own time: 20 + 40 + 2 x 10, or the 40 alone."""
    calls = (call(0, 1), call(0, 2, often=2))

    assert run(system(*calls)).latency[0, 0] == pytest.approx(20 + 40 + 20)
    assert run(system(*calls, parallel=True)).latency[0, 0] == pytest.approx(20 + 40)
    assert run(system(*calls)).load[:, 0].tolist() == [100, 100, 200]


def test_slowness_goes_up_by_calls_a_request() -> None:
    """db takes 5 times as long: 40 ms more, 80 ms for two calls."""
    of = system(call(0, 1), call(1, 2, often=2))
    before, after = run(of), run(of, fault(Cause.SLOW, 2))

    assert (after.latency - before.latency)[:, 0].tolist() == pytest.approx([80, 80, 40])
    assert not after.failed.any()


def test_failures_go_up_where_they_matter() -> None:
    """A tenth of db's answers are failures; web needs half of what shop fails."""
    of = system(call(0, 1, essential=0.5), call(1, 2))

    assert run(of, fault(Cause.ERRORS, 2)).failed[:, 0].tolist() == pytest.approx([0.05, 0.1, 0.1])


def test_what_half_of_the_requests_need_fails_half_of_them() -> None:
    """One call in two requests, to what is gone."""
    after = run(system(call(0, 1, often=0.5)), fault(Cause.CRASH, 1))

    assert after.failed[:2, 0].tolist() == pytest.approx([0.5, 1.0])
    assert after.down[1, 0]


def test_retries_make_load_and_mend_chance_failures() -> None:
    """A tenth fails: with two more tries 1.11 calls, of which 0.001 fail in the end."""
    after = run(system(call(0, 1, retries=2)), fault(Cause.ERRORS, 1))

    assert after.load[1, 0] == pytest.approx(111)
    assert after.failed[0, 0] == pytest.approx(0.001)


def test_beyond_its_capacity_a_node_refuses_and_calls_nobody_for_it() -> None:
    """web can do 200 a second and users send 400: 97 % of 200 get through to shop."""
    of = system(call(0, 1))
    after = run(of, fault(Cause.OVERLOAD, 0, strength=2))

    assert after.load[:2, 0].tolist() == pytest.approx([400, 194])
    assert after.failed[0, 0] == pytest.approx(1 - 194 / 400)


def test_calls_that_go_astray_fail_and_are_missed_where_they_belong() -> None:
    """Three tenths of web's calls of shop."""
    after = run(system(call(0, 1)), fault(Cause.MISROUTE, 0, callee=1))

    assert after.load[1, 0] == pytest.approx(70)
    assert after.astray[0, 0] == pytest.approx(30)
    assert after.failed[:2, 0].tolist() == pytest.approx([0.3, 0.0])


def test_a_chatty_node_calls_more_often() -> None:
    """Three times as often: 300 a second, more than shop's 200."""
    after = run(system(call(0, 1)), fault(Cause.CHATTY, 0, callee=1))

    assert after.load[:2, 0].tolist() == pytest.approx([100, 300])
    assert after.failed[1, 0] == pytest.approx(1 - 0.97 * 200 / 300)


def test_what_hangs_makes_its_callers_time_out() -> None:
    """Nothing is answered within ten times the usual."""
    after = run(system(call(0, 1, patience=10)), fault(Cause.HANG, 1))

    assert after.mute[1, 0]
    assert after.failed[0, 0] > 0.99


def test_less_capacity_makes_a_queue() -> None:
    """Room for 1 / 1.25 of the requests it could do: 62.5 % busy, 20 / 0.375 ms."""
    after = run(system(call(0, 1)), fault(Cause.SATURATION, 1, strength=1 / 6))

    assert after.busy[1, 0] == pytest.approx(0.625)
    assert after.latency[1, 0] == pytest.approx(20 / 0.375)
