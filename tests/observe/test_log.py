"""Events become log lines."""

from __future__ import annotations

import json
import logging

import pytest

from dcmflow.flow.events import Event, InstanceRefused, PipelineStarted, RetryScheduled, StageOpened
from dcmflow.flow.stage import kebab
from dcmflow.observe.log import PER_INSTANCE, EventLog, Forward, event_facts, event_name, logger
from dcmflow.status import Status

REFUSED = InstanceRefused(
    stage="pacs", sop_instance_uid="1.2.3", status=Status(0xA700), reason="disk full", path="/in/a b.dcm"
)


def _lines(*events: Event, level: str = "info", format: str = "text", colour: bool = False) -> list[str]:
    lines: list[str] = []
    log = EventLog(logger(lines.append, level=level, format=format, colour=colour))
    for event in events:
        log(event)
    return lines


def test_names_are_those_of_the_classes_in_kebab_case() -> None:
    assert event_name(REFUSED) == "instance-refused"
    names = {kebab(kind.__name__) for kind in Event.__subclasses__()}
    assert names >= PER_INSTANCE
    assert event_name(StageOpened(stage="a", type="scp")) in names


def test_facts() -> None:
    assert event_facts(REFUSED) == {
        "stage": "pacs",
        "sop_instance_uid": "1.2.3",
        "status": "A700",
        "reason": "disk full",
        "path": "/in/a b.dcm",
    }
    best_effort = InstanceRefused(
        stage="s", sop_instance_uid="1", status=Status(0x0110), reason="r", required=False
    )
    assert event_facts(best_effort)["required"] is False


def test_text_line() -> None:
    (line,) = _lines(REFUSED)
    time, rest = line.split(" ", 1)
    assert time.count(":") == 2
    assert rest == (
        'warning instance-refused stage=pacs sop_instance_uid=1.2.3 status=A700 reason="disk full" path="/in/a b.dcm"'
    )


def test_json_line() -> None:
    (line,) = _lines(REFUSED, format="json")
    found = json.loads(line)
    assert found.pop("timestamp").endswith("Z")
    assert found == {"event": "instance-refused", "level": "warning", **event_facts(REFUSED)}


@pytest.mark.parametrize(
    "hostile", ["a\nb", "\x1b[2J", 'say "no"', "back\\slash", "\x9b31m", "\u2028", "key=value x=1"]
)
def test_no_value_breaks_a_line_or_looks_like_another_fact(hostile: str) -> None:
    event = InstanceRefused(stage="s", sop_instance_uid="1", status=Status(0x0110), reason=hostile)
    (line,) = _lines(event)
    assert line.isprintable()
    _, _, shown = line.partition("reason=")
    assert shown.startswith('"')
    assert shown.endswith('"')
    (as_json,) = _lines(event, format="json")
    assert json.loads(as_json)["reason"] == hostile
    assert "\n" not in as_json


@pytest.mark.parametrize(("level", "count"), [("debug", 3), ("info", 2), ("warning", 1), ("error", 0)])
def test_levels(level: str, count: int) -> None:
    events = (StageOpened(stage="a", type="scp"), PipelineStarted(pipeline="p", stages=1), REFUSED)
    assert len(_lines(*events, level=level)) == count


def test_colour() -> None:
    assert "\x1b[33mwarning\x1b[0m" in _lines(REFUSED, colour=True)[0]


def test_left_out_names() -> None:
    lines: list[str] = []
    log = EventLog(logger(lines.append), without=PER_INSTANCE)
    log(REFUSED)
    log(RetryScheduled(stage="s", sop_instance_uid="1", reason="r", attempts=1))
    assert lines == []


def test_what_cannot_be_written_is_let_go() -> None:
    calls = []

    def write(line: str) -> None:
        calls.append(line)
        raise OSError("disk full")

    log = EventLog(logger(write))
    log(REFUSED)
    log(REFUSED)
    assert len(calls) == 1


def test_other_libraries_are_forwarded() -> None:
    lines: list[str] = []
    handler = Forward([logger(lines.append, level="debug")], logging.WARNING)
    other = logging.Logger("pydicom")
    other.addHandler(handler)
    other.info("not this")
    other.warning("bad %s", "value")
    try:
        raise ValueError("why")
    except ValueError:
        other.exception("failed")
    assert [line.split(" ", 1)[1] for line in lines] == [
        "warning bad value logger=pydicom",
        "error failed logger=pydicom reason=ValueError('why')",
    ]
