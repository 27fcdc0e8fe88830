"""What is known of the presentation contexts of a node."""

from __future__ import annotations

import pytest

from dcmflow.net.context_memory import REFUSED, REMEMBERED, ContextMemory

A, B, C, D = (("1.2.840.10008.5.1.4.1.1." + number, "1.2.840.10008.1.2") for number in ("2", "4", "7", "128"))


def test_the_latest_first() -> None:
    memory = ContextMemory()
    for wanted in (A, B, A, C):
        memory.use(wanted)
    assert list(memory.recent()) == [C, A, B]


def test_not_all_are_remembered() -> None:
    memory = ContextMemory()
    for number in range(2 * REMEMBERED):
        memory.use((f"1.2.{number}", "1.2.840.10008.1.2"))
    memory.learn([A], [A], {})
    recent = list(memory.recent())
    assert (len(recent), recent[0][0]) == (REMEMBERED, f"1.2.{2 * REMEMBERED - 1}")


def test_what_is_not_supported_is_refused() -> None:
    memory = ContextMemory()
    memory.use(B)
    assert memory.learn([A, B, C], [A], {B: 3, C: 4}) == {B, C}
    assert [memory.refuses(each) for each in (A, B, C, D)] == [False, True, True, False]
    assert [memory.result(each) for each in (B, C, D)] == [3, 4, None]
    assert list(memory.recent()) == []


def test_no_reason_says_something_about_the_first_one_only() -> None:
    memory = ContextMemory()
    assert memory.learn([A, B, C], [A], {B: 2, C: 1}) == set()
    assert memory.learn([A, B, C, D], [B], {A: 2, C: 2}) == {A}
    assert memory.learn([C, D], [], {C: 2, D: 2}) == {
        C,
        D,
    }  # where nothing is accepted, it is not for want of room


def test_it_may_be_accepted_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("dcmflow.net.context_memory.monotonic", lambda: now[0])
    memory = ContextMemory()
    memory.learn([A, B], [], {A: 3, B: 3})
    memory.learn([A], [A], {})
    assert not memory.refuses(A)
    now[0] += REFUSED
    assert not memory.refuses(B)
