"""A check may hang, raise or leave: the doctor goes on."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar

import pytest

from models.errors import WeightsError
from tasks.diagnosis import Check, Line, asked, broken, failed, ok


def said(*checks: Check) -> list[Line]:
    return list(asked(checks))


def test_answers_come_in_order_however_long_each_takes() -> None:
    def slow() -> Sequence[Line]:
        time.sleep(0.2)
        return [ok("slow", "1"), ok("slow", "2")]

    lines = said(Check(about="slow", ask=slow), Check(about="quick", ask=lambda: [ok("quick", "3")]))
    assert [line.said for line in lines] == ["1", "2", "3"]


def test_all_are_asked_at_the_same_time() -> None:
    def slow() -> Sequence[Line]:
        time.sleep(1)
        return []

    begun = time.monotonic()
    assert said(*[Check(about="slow", ask=slow)] * 10) == []
    assert time.monotonic() - begun < 8


def test_a_check_that_never_answers_is_given_up_and_the_others_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        def ask() -> Sequence[Line]:
            socket.create_connection(silent.getsockname()).recv(1)
            return []

        begun = time.monotonic()
        lines = said(Check(about="store", ask=ask, seconds=0.2), Check(about="next", ask=lambda: [ok("next", "told")]))
        assert time.monotonic() - begun < 20
    assert lines == [failed("store", "did not answer within 0.2 s",
                            "Look whether it is up and can be reached from here"), ok("next", "told")]


@pytest.mark.parametrize("act", [lambda: 1 / 0, lambda: sys.exit(3), lambda: [].pop(), lambda: __import__("no_such")])
def test_a_check_that_ends_badly_is_one_failed_line(act: Callable[[], Sequence[Line]]) -> None:
    [line, after] = said(Check(about="bad", ask=act), Check(about="next", ask=lambda: [ok("next", "is told")]))
    assert (line.about, line.verdict) == ("bad", "failed")
    assert line.remedy
    assert after.said == "is told"


def test_our_own_errors_keep_their_remedy_and_say_it_once() -> None:
    line = broken("weights", WeightsError("is missing", field="weights_dir", value="w", remedy="Get it with: hf"))
    assert line == failed("weights", "weights_dir='w': is missing", "Get it with: hf")


def test_a_check_sees_what_its_caller_has_set_for_this_context() -> None:
    where: ContextVar[str] = ContextVar("where", default="nowhere")
    where.set("here")
    assert [line.said for line in said(Check(about="context", ask=lambda: [ok("context", where.get())]))] == ["here"]
