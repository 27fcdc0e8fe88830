"""Processes that share sockets: who takes a call, how many associations there may be, when a source has ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import anyio
import pytest

from dcmflow.net.crew import Attendance, Crew
from dcmflow.net.entity import CONGESTED, LIMIT_EXCEEDED, ApplicationEntity

SOURCES = ["one", "two"]


@pytest.fixture
def crews() -> Iterator[list[Crew]]:
    """Three processes, as each of them sees itself; here they are one."""
    whole = Crew.make(3, SOURCES)
    crews = [Crew(os.dup(whole.descriptor), 3, SOURCES, number) for number in range(3)]
    yield crews
    for crew in [whole, *crews]:
        crew.close()


@pytest.fixture
def calls() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket that listens, and one that calls there."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as caller,
    ):
        yield listening, caller


def test_alone_up_to_the_limit() -> None:
    attendance = Attendance.alone()
    assert [attendance.take(2) for _ in range(3)] == [True, True, False]
    attendance.leave()
    assert attendance.take(2)


def test_the_limit_is_that_of_all_processes(crews: list[Crew]) -> None:
    ones = [crew.attendance("one") for crew in crews]
    assert [ones[number].take(4) for number in (0, 0, 1, 2, 1, 0)] == [True, True, True, True, False, False]
    assert crews[1].attendance("two").take(1), "each source counts for itself"
    ones[2].leave()
    assert ones[0].take(4)
    assert not ones[1].take(4)


def test_who_is_gone_has_no_associations(crews: list[Crew]) -> None:
    ones, twos = ([crew.attendance(name) for crew in crews] for name in SOURCES)
    assert ones[1].take(1)
    assert twos[1].take(1)
    assert not ones[0].take(1)
    crews[0].forget(1)
    assert ones[0].take(1)
    assert twos[2].take(1)


def test_a_source_ends_for_all_processes_at_once(crews: list[Crew]) -> None:
    ones = [crew.attendance("one") for crew in crews]
    for one in ones:
        one.touch()
    assert ones[0].take(9)
    assert ones[1].end(60) == 60
    ones[0].leave()
    left = ones[2].end(60)
    assert left is not None
    assert 0 < left <= 60
    assert not any(one.is_over() for one in ones)
    assert ones[2].end(0) is None
    assert all(one.is_over() for one in ones)
    assert [one.take(9) for one in ones] == [False, False, False]
    assert not crews[0].attendance("two").is_over()


def test_an_association_keeps_a_source_from_ending(crews: list[Crew]) -> None:
    ones = [crew.attendance("one") for crew in crews]
    assert ones[0].take(9)
    assert ones[1].end(0) is not None
    assert not ones[1].is_over()


def test_an_entity_says_why_it_has_no_place(crews: list[Crew]) -> None:
    first, second = (
        ApplicationEntity("A", max_associations=1, attendance=crew.attendance("one")) for crew in crews[:2]
    )
    assert first.reserve() is None
    assert second.reserve() == LIMIT_EXCEEDED
    first.leave(None)
    assert second.reserve() is None
    second.leave(None)
    assert crews[2].attendance("one").end(0) is None
    assert [first.reserve(), second.reserve()] == [CONGESTED, CONGESTED]


def test_who_has_the_fewest_is_first(crews: list[Crew]) -> None:
    first, second, absent = crews
    with first.serving(), second.serving():
        assert first.is_first()
        assert second.is_first()
        first.connected()
        assert [first.is_first(), second.is_first()] == [False, True], "the third one takes no calls"
        second.connected()
        assert [first.is_first(), second.is_first()] == [True, True]
        second.connected()
        second.disconnected()
        assert second.is_first()
    first.connected()
    assert first.is_first(), "the second one takes no calls any more"
    assert absent.is_first()


@pytest.mark.anyio
async def test_a_call_is_left_to_who_has_fewer(
    crews: list[Crew], calls: tuple[socket.socket, socket.socket]
) -> None:
    first, second, _ = crews
    listening, _ = calls
    first.connected()
    with first.serving(), second.serving():
        assert await second.turn(listening)
        async with anyio.create_task_group() as tasks:
            answers: list[bool] = []

            async def ask() -> None:
                answers.append(await first.turn(listening))

            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            taken, _ = listening.accept()
            taken.close()
        assert answers == [False]


@pytest.mark.anyio
async def test_a_call_that_nobody_takes_is_taken(
    crews: list[Crew], calls: tuple[socket.socket, socket.socket]
) -> None:
    first, second, _ = crews
    first.connected()
    with first.serving(), second.serving():
        assert await first.turn(calls[0])


TAKE = """
import sys
from dcmflow.net.crew import Crew
crew = Crew(int(sys.argv[1]), 4, ["one"], int(sys.argv[2]))
one = crew.attendance("one")
print(sum(one.take(1000) for _ in range(500)))
"""


def test_processes_at_once() -> None:
    """2000 want to come, 1000 may: neither one more nor one less."""
    crew = Crew.make(4, ["one"])
    try:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", TAKE, str(crew.descriptor), str(number)],
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=[crew.descriptor],
            )
            for number in range(4)
        ]
        taken = [int(process.communicate(timeout=15)[0]) for process in processes]
    finally:
        crew.close()
    assert sum(taken) == 1000
