"""Refused instances and the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dcmflow import Instance, StageError, sinks, sources
from dcmflow.flow.context import Context
from dcmflow.sinks.quarantine import file_name
from dcmflow.testing import instance
from little_stages import Deny
from stage_runs import files_in, put, remount, run

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


async def test_object_and_reason(tmp_path: Path) -> None:
    given = put(tmp_path, "in/a.dcm", SOPInstanceUID="2.25.7", PatientID="P1")
    bad = sinks.Quarantine(str(tmp_path / "bad"), name="bad")
    deny = Deny(status=0xA900, on_error="bad", name="pacs")
    ran = await run(sources.Directory(str(tmp_path / "in"), name="in") | deny, bad)
    assert ran.totals.accepted == 1
    assert files_in(tmp_path / "bad") == ["2.25.7.dcm", "2.25.7.json"]
    assert (tmp_path / "bad" / "2.25.7.dcm").read_bytes() == b"".join(map(bytes, given.part10_segments()))
    note = json.loads((tmp_path / "bad" / "2.25.7.json").read_text())
    assert (note["stage"], note["status"], note["reason"]) == ("pacs", "A900", "will not take 6")
    assert note["sop_instance_uid"] == "2.25.7"
    assert note["elements"]["PatientID"] == "P1"
    assert note["origin"]["path"] == str(tmp_path / "in" / "a.dcm")
    assert note["origin"]["stage"] == "in"
    assert note["time"].endswith("+00:00")


async def keep(folder: Path, *given: Instance) -> None:
    async with sinks.Quarantine(str(folder)).open(Context(stage="bad")) as actor:
        for each in given:
            await actor.write(each)


def reasons(folder: Path) -> list[str]:
    return [json.loads(path.read_text())["reason"] for path in sorted(folder.glob("*.json"))]


async def test_same_object_again_has_the_last_reason(tmp_path: Path) -> None:
    given = instance(SOPInstanceUID="2.25.7")
    await keep(
        tmp_path,
        given.with_labels(**{"refused.reason": "one"}),
        given.with_labels(**{"refused.reason": "two"}),
    )
    assert files_in(tmp_path) == ["2.25.7.dcm", "2.25.7.json"]
    assert reasons(tmp_path) == ["two"]


async def test_another_version_does_not_replace_the_first(tmp_path: Path) -> None:
    one = instance(SOPInstanceUID="2.25.7").with_labels(**{"refused.reason": "one"})
    two = one.with_elements({"PatientID": "other"}).with_labels(**{"refused.reason": "two"})
    await keep(tmp_path, one, two)
    assert files_in(tmp_path) == ["2.25.7-2.dcm", "2.25.7-2.json", "2.25.7.dcm", "2.25.7.json"]
    assert reasons(tmp_path) == ["two", "one"]


@pytest.mark.parametrize("uid", ["../../etc/passwd", "", "1.2/3", "1" * 65, ".hidden", "1..2", "山田"])
def test_uid_that_is_none_is_no_name(uid: str) -> None:
    name = file_name(uid)
    assert name.startswith("uid-")
    assert "/" not in name
    assert file_name(uid) == name != file_name(uid + "x")


async def test_hostile_uid_stays_inside(tmp_path: Path) -> None:
    given = instance()._with(sop_instance_uid="../../outside")
    await keep(tmp_path / "a" / "bad", given)
    assert all(name.startswith("a/bad/uid-") for name in files_in(tmp_path))


async def test_without_refusal(tmp_path: Path) -> None:
    await keep(tmp_path, instance(SOPInstanceUID="2.25.7").with_labels(site="x"))
    note = json.loads((tmp_path / "2.25.7.json").read_text())
    assert (note["stage"], note["reason"], note["labels"]) == ("", "", {"site": "x"})


async def test_full_disk_refuses_for_good(tmp_path: Path, small_tmpfs: Any) -> None:
    there = small_tmpfs(64 * 1024)
    source = sources.Synthetic(instances=3, size=100_000)
    ran = await run(source | sinks.Quarantine(str(there)))
    assert ran.totals.refused == 3
    assert files_in(there) == []


async def test_read_only_is_found_before_anything_moves(small_tmpfs: Any) -> None:
    there = small_tmpfs(64 * 1024)
    remount(there, "ro")
    with pytest.raises(StageError, match="read-only"):
        await run(sources.Synthetic(size=10) | sinks.Quarantine(str(there)))


def test_promise() -> None:
    assert sinks.Quarantine("x").promise() == "in quarantine at"
