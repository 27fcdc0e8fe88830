"""What a report says, to people and to programs."""

from __future__ import annotations

import json

from dcmflow.sync.report import Failure, Report, Result


def report() -> Report:
    return Report(
        destinations={
            "PACS@10.0.0.5:104": Result(wanted=10, present=2, sent=5, failed=2, skipped=1),
            "./out": Result(wanted=3, present=3),
        },
        seconds=1.5,
        notes=["PACS@10.0.0.5:104: a note"],
    )


def test_what_failed_and_what_was_skipped_did_not_arrive() -> None:
    assert report().failed == 3
    assert Report().failed == 0
    assert Report(destinations={"a": Result(wanted=1, sent=1)}).failed == 0


def test_a_table_has_a_row_for_each_destination() -> None:
    assert list(report().rows()) == [
        ("destination", "wanted", "present", "sent", "failed", "skipped"),
        ("PACS@10.0.0.5:104", "10", "2", "5", "2", "1"),
        ("./out", "3", "3", "0", "0", "0"),
    ]


def test_it_is_plain_data() -> None:
    made = report()
    made.destinations["./out"].failures.append(Failure("1.2.3", "the disk is full"))
    plain = json.loads(json.dumps(made.plain()))
    assert plain["version"] == 1
    assert plain["notes"] == ["PACS@10.0.0.5:104: a note"]
    assert plain["destinations"]["./out"]["failures"] == [{"uid": "1.2.3", "reason": "the disk is full"}]
    numbers = ("present", "sent", "failed", "skipped")
    assert all(
        each["wanted"] == sum(each[name] for name in numbers) for each in plain["destinations"].values()
    )


def test_results_share_nothing() -> None:
    one, other = Result(), Result()
    one.failures.append(Failure("1.2.3", "refused"))
    assert other.failures == []
