"""The report of a run."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dcmflow import ConfigError, Pipeline, Refused, sinks, sources
from dcmflow.dicom.instance import Instance
from dcmflow.flow.events import Event, InstanceDiverted, InstanceRefused, PipelineStarted
from dcmflow.observe.report import PIPELINE_KEYS, Refusals, ReportFile, entry, spool_file, write_report
from dcmflow.status import Status

FIGURES = dict.fromkeys(PIPELINE_KEYS, 1) | {"resident": 5}


def _refused(number: int, **more: Any) -> InstanceRefused:
    return InstanceRefused(
        stage="pacs", sop_instance_uid=f"1.2.{number}", status=Status(0xA700), reason="full\n", **more
    )


def _written(refusals: Refusals, stages: dict[str, Any] | None = None) -> Any:
    out = io.StringIO()
    write_report(out, FIGURES, stages or {}, refusals)
    assert out.getvalue().endswith("}\n")
    return json.loads(out.getvalue())


@pytest.mark.parametrize("count", [0, 1, 11, 1000])
def test_every_refusal_is_in_it_and_only_ten_in_memory(count: int) -> None:
    refusals = Refusals(spool=True)
    refusals(PipelineStarted(pipeline="p", stages=1))
    for number in range(count):
        refusals(_refused(number))
    report = _written(refusals, {"pacs": {"in": 1}})
    assert report == {
        "version": 1,
        "pipeline": dict.fromkeys(PIPELINE_KEYS, 1),
        "stages": {"pacs": {"in": 1}},
        "refusals": [
            {
                "stage": "pacs",
                "sop_instance_uid": f"1.2.{number}",
                "status": "A700",
                "reason": "full\n",
                "path": None,
            }
            for number in range(count)
        ],
    }
    assert refusals.count == count
    assert len(refusals.first) == min(count, 10)
    assert _written(refusals) == _written(refusals)
    refusals.close()


def test_goes_on_after_it_was_read() -> None:
    refusals = Refusals(spool=True)
    refusals(_refused(1))
    assert len(_written(refusals)["refusals"]) == 1
    refusals(_refused(2))
    assert len(_written(refusals)["refusals"]) == 2
    refusals.close()


def test_without_a_spool_the_first_ones_are_there() -> None:
    refusals = Refusals(spool=False, keep=2)
    for number in range(5):
        refusals(_refused(number))
    assert [each["sop_instance_uid"] for each in _written(refusals)["refusals"]] == ["1.2.0", "1.2.1"]
    refusals.close()


def test_best_effort_is_marked() -> None:
    assert "required" not in entry(_refused(1, path="/a"))
    assert entry(_refused(1, required=False))["required"] is False


def test_a_full_temporary_folder_loses_no_report(small_tmpfs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_tmpfs(16384)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    refusals = Refusals(spool=True)
    for number in range(1000):
        refusals(_refused(number))
    report = _written(refusals)
    assert refusals.lost > 0
    assert len(report["refusals"]) + refusals.lost == refusals.count == 1000
    refusals.close()


def test_there_is_never_half_a_report(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")
    file = ReportFile(path)
    assert [each.name for each in tmp_path.iterdir()] == ["r.json"]
    with pytest.raises(KeyError):
        file.write({}, {}, Refusals(spool=False))
    assert path.read_text() == "old"
    file.write(FIGURES, {}, Refusals(spool=False))
    assert json.loads(path.read_text())["version"] == 1
    assert [each.name for each in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize("name", ["no/such/r.json", ""])
def test_a_place_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        ReportFile(tmp_path / name)


def _refuse_odd(instance: Instance) -> Instance:
    if int(instance.header["InstanceNumber"]) % 2:
        raise Refused("odd", status=0xC123)
    return instance


@pytest.mark.anyio
async def test_sums_of_a_run(tmp_path: Path) -> None:
    refusals = Refusals(spool=True)
    seen: list[Event] = []
    pipeline = Pipeline(sources.Synthetic(instances=25) | _refuse_odd | sinks.Discard())
    statistics = await pipeline.run(observe=[refusals, seen.append])
    plain = msgspec.to_builtins(statistics)
    ReportFile(tmp_path / "r.json").write(plain["pipeline"], plain["stages"], refusals)
    refusals.close()
    report = json.loads((tmp_path / "r.json").read_text())
    totals = report["pipeline"]
    assert (
        totals["emitted"]
        == totals["accepted"] + totals["dropped"] + totals["refused"] + totals["unsettled"]
        == 25
    )
    assert totals["refused"] == len(report["refusals"]) == 13
    assert {each["status"] for each in report["refusals"]} == {"C123"}
    assert {"in", "out", "dropped", "refused", "bytes"} <= set(report["stages"]["call-1"])
    assert sum(isinstance(event, InstanceRefused) for event in seen) == 13


def test_refusals_of_several_are_gathered() -> None:
    files = [spool_file() for _ in range(3)]
    for number, file in enumerate(files[:2]):
        one = Refusals(spool=True, into=file)
        for each in range(7):
            one(_refused(10 * number + each, path="x.dcm", required=False))
    diverted = InstanceDiverted(
        stage="pacs", sop_instance_uid="1.2.99", status=Status(0xC000), reason="broken", to="quarantine"
    )
    Refusals(spool=True, into=files[2])(diverted)
    files[0].write(b'{"stage": "pacs", "sop_ins')  # whoever wrote it was killed
    found = Refusals.gathered(files, kept=3, lost=2)
    assert (found.count, found.kept, found.lost) == (15, 3, 2)
    assert len(found.first) == 10
    assert found.first[0] == _refused(0, path="x.dcm", required=False)
    assert Refusals.gathered(files[2:]).first == [diverted]
    entries = _written(found)["refusals"]
    assert [entry["sop_instance_uid"] for entry in entries[:8]] == [
        *(f"1.2.{each}" for each in range(7)),
        "1.2.10",
    ]
    assert entries[-1]["to"] == "quarantine"
    found.close()
