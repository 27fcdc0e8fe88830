"""Selectors, routers and filters that let fall: who gets what, counted with pydicom's eyes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from acceptance_kit import Command, pipeline_file, report, run_here, visible
from corpus import Corpus
from dcmflow import ConfigError, Instance, Selector

CASES: dict[str, Callable[[Dataset], bool]] = {
    "SeriesNumber > 2": lambda ds: ds.SeriesNumber > 2,
    "SeriesNumber >= 2": lambda ds: ds.SeriesNumber >= 2,
    "SeriesNumber < 14 and SeriesNumber != 1": lambda ds: ds.SeriesNumber == 2,
    "SeriesNumber in (1, 14)": lambda ds: ds.SeriesNumber in (1, 14),
    "SeriesNumber not in (1, 14)": lambda ds: ds.SeriesNumber not in (1, 14),
    "EchoTime == 2.460": lambda ds: float(ds.EchoTime) == 2.46,
    "EchoTime > 3": lambda ds: float(ds.EchoTime) > 3,
    "ImageType contains 'PRIMARY'": lambda ds: "PRIMARY" in ds.ImageType,
    "ImageType contains 'PRIM'": lambda ds: "PRIM" in ds.ImageType,
    "StudyDate >= '20190615'": lambda ds: ds.StudyDate >= "20190615",
    "StudyDate < '2019-06-15'": lambda ds: ds.StudyDate < "20190615",
    "SeriesDescription like '*MPRAGE*'": lambda ds: "MPRAGE" in ds.SeriesDescription,
    "SeriesDescription like 'Localize?'": lambda ds: ds.SeriesDescription == "Localizer",
    "SeriesDescription matches '^(gre|t2) '": lambda ds: ds.SeriesDescription[:3] in ("gre", "t2 "),
    "not SeriesDescription like '*MPRAGE*'": lambda ds: "MPRAGE" not in ds.SeriesDescription,
    "exists(PixelData)": lambda ds: "PixelData" in ds,
    "not exists(Rows)": lambda ds: "Rows" not in ds,
    "exists(ReferencedImageSequence)": lambda ds: "ReferencedImageSequence" in ds,
    "exists(ReferencedImageSequence[118].ReferencedSOPClassUID)": lambda ds: "ReferencedImageSequence" in ds,
    "exists(ReferencedImageSequence[119])": lambda _: False,
    "Rows > 0": lambda ds: "Rows" in ds,
    "Rows != 5": lambda ds: "Rows" in ds,  # a missing element makes a comparison false
    "not Rows == 5": lambda _: True,
    "ReceiveCoilName == ''": lambda _: False,
    "(0008,0060) == 'MR' and (0020,0011) == 14": lambda ds: ds.SeriesNumber == 14,
    "SOPClassUID == '1.3.12.2.1107.5.9.1'": lambda ds: ds.SOPClassUID == "1.3.12.2.1107.5.9.1",
    "PatientID == 'TestPat2' or PatientID == 'TestPat1' and SeriesNumber == 14": (
        lambda ds: ds.PatientID == "TestPat2" or ds.SeriesNumber == 14
    ),
    "(PatientID == 'TestPat2' or PatientID == 'TestPat1') and SeriesNumber == 14": lambda ds: (
        ds.SeriesNumber == 14
    ),
    "PatientName == 'TestPat1^Test'": lambda ds: ds.PatientID == "TestPat1",
}


@pytest.mark.parametrize("text", CASES)
def test_a_selector_chooses_what_pydicom_says_it_must(base_set: Corpus, text: str) -> None:
    selector = Selector(text)
    chosen = {name for name, path in base_set.items() if selector(Instance.load(path))}
    assert chosen == {name for name, path in base_set.items() if CASES[text](pydicom.dcmread(path))}


@pytest.mark.parametrize("name", ["utf8", "japanese", "gb18030", "korean"])
def test_a_selector_reads_many_scripts(char_set: Corpus, name: str) -> None:
    word = {"utf8": "小東", "japanese": "山田", "gb18030": "小东", "korean": "길동"}[name]
    chosen = {
        each
        for each, path in char_set.items()
        if Selector(f"PatientName like '*{word}*'")(Instance.load(path))
    }
    assert f"{name}.dcm" in chosen
    assert "latin1.dcm" not in chosen
    if name == "japanese":
        assert chosen - {"undeclared-utf8.dcm"} == {"japanese.dcm"}, "Yamada only"


def test_private_elements_can_be_asked_for(priv_set: Corpus) -> None:
    for text, names in {
        "(\"DCMFLOW TEST A\",0019,10) == 'of A'": {"blocks.dcm"},
        '("DCMFLOW TEST B",0019,10) contains 2.5': {"blocks.dcm"},
        'exists(("DCMFLOW TEST B",0019,11))': {"blocks.dcm", "blocks-implicit.dcm"},
        'exists(("NOBODY",0019,10))': set(),
    }.items():
        chosen = {name for name, path in priv_set.items() if Selector(text)(Instance.load(path))}
        assert chosen >= names, text
        assert chosen <= names | {"blocks-implicit.dcm"}, text


BAD = ["SeriesNumber >", "Modalty == 'CT'", "Modality = 'CT'", "SeriesNumber > 'many'", "(Modality == 'CT'",
       "Modality == 'CT' && True", "__import__('os')", "SeriesDescription matches '('", ""]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_a_bad_selector_is_an_error_with_a_caret(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Selector(text)
    if text:
        assert "^" in str(caught.value)


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_bad_selector_in_a_file_is_found_before_anything_moves(
    run: Command, base_set: Corpus, tmp_path: Path, command: str
) -> None:
    file = chosen_by(tmp_path, base_set, "SeriesNumbr > 5")
    done = run(command, file).must(2)
    for word in ("p.toml", "some", "match", "SeriesNumber", "^"):
        assert word in done.err, f"{word} is not in\n{done.err}"
    assert not (tmp_path / "out").exists()


def chosen_by(folder: Path, source: Corpus, match: str, **head: Any) -> Path:
    return pipeline_file(
        folder / "p.toml",
        head=head,
        sources={"in": {"type": "directory", "path": source.folder}},
        filters={"some": {"type": "where", "from": "in", "match": match}},
        sinks={"out": {"type": "directory", "from": "some", "path": "out"}},
    )


def test_what_a_filter_drops_is_counted_and_no_failure(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    file = chosen_by(tmp_path, base_set, "PatientID == 'TestPat2'")
    run("run", file, "--report", tmp_path / "r.json").must(0)
    assert {pydicom.dcmread(path).PatientID for path in visible(tmp_path / "out")} == {"TestPat2"}
    assert len(visible(tmp_path / "out")) == 4
    said = report(tmp_path / "r.json")
    assert (said["pipeline"]["accepted"], said["pipeline"]["dropped"]) == (4, 8)
    assert said["stages"]["some"]["dropped"] == 8


def test_dropping_everything_is_all_done(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    file = chosen_by(tmp_path, base_set, "Modality == 'CT'")
    run("run", file, "--report", tmp_path / "r.json").must(0)
    assert visible(tmp_path / "out") == []
    said = report(tmp_path / "r.json")["pipeline"]
    assert (said["emitted"], said["dropped"]) == (12, 12)


SETTINGS = """
[selectors]
external = "not internal"
internal = "scanner or PatientID == 'TestPat2'"
scanner = "SeriesNumber == 14"
"""


def test_selectors_of_the_settings_are_used_by_name_in_any_order(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text(SETTINGS)
    for match, count in {
        "external": 7,
        "internal and not scanner": 4,
        "scanner or Modality == 'CT'": 1,
    }.items():
        file = chosen_by(tmp_path, base_set, match)
        run("run", file, "--config", tmp_path / "config.toml", "--report", tmp_path / "r.json").must(0)
        assert report(tmp_path / "r.json")["pipeline"]["accepted"] == count, match


@pytest.mark.parametrize(
    ("selectors", "word"),
    [
        ('a = "not b"\nb = "c or a"\nc = "Modality == \'MR\'"', "a"),
        ('a = "a"', "a"),
        ('a = "Modality =="', "a"),
        ('a = "unheard_of"', "unheard_of"),
    ],
)
def test_named_selectors_that_go_in_circles_or_nowhere_are_errors(
    run: Command, base_set: Corpus, tmp_path: Path, selectors: str, word: str
) -> None:
    (tmp_path / "config.toml").write_text(f"[selectors]\n{selectors}\n")
    checked = run("config", "check", "--config", tmp_path / "config.toml").must(2)
    assert "config.toml" in checked.err
    assert word in checked.err
    done = run("run", chosen_by(tmp_path, base_set, "a"), "--config", tmp_path / "config.toml").must(2)
    assert word in done.err
    assert not (tmp_path / "out").exists()


# routers -------------------------------------------------------------------------------------------------------


def routed(folder: Path, source: Corpus, router: dict[str, Any], *branches: str) -> Path:
    """Each branch into a folder of its name; `*` into `rest`."""
    return pipeline_file(
        folder / "p.toml",
        sources={"in": {"type": "directory", "path": source.folder}},
        routers={"by": {"from": "in", **router}},
        sinks={
            f"to-{branch.replace('*', 'rest')}": {
                "type": "directory", "from": f"by.{branch}", "path": branch.replace("*", "rest")
            }
            for branch in branches
        },
    )  # fmt: skip


def counts(folder: Path, *names: str) -> list[int]:
    return [len(visible(folder / name)) for name in names]


BRANCHES = {"two": "PatientID == 'TestPat2'", "first": "SeriesNumber == 1", "private": "SeriesNumber == 14"}


def test_all_that_match_and_the_rest(base_set: Corpus, tmp_path: Path) -> None:
    file = routed(tmp_path, base_set, {"type": "match", "branch": BRANCHES}, "two", "first", "private", "*")
    statistics = run_here(file)
    assert counts(tmp_path, "two", "first", "private", "rest") == [4, 6, 1, 3]
    assert statistics.pipeline.accepted == 12, "counted once each, wherever they went"


def test_only_the_first_that_matches(base_set: Corpus, tmp_path: Path) -> None:
    router = {"type": "match", "branch": BRANCHES, "first-only": True}
    run_here(routed(tmp_path, base_set, router, "two", "first", "private", "*"))
    assert counts(tmp_path, "two", "first", "private", "rest") == [4, 4, 1, 3]


def test_what_matches_nothing_is_refused_never_dropped(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    file = routed(tmp_path, base_set, {"type": "match", "branch": {"two": BRANCHES["two"]}}, "two")
    done = run("run", file, "--report", tmp_path / "r.json").must(1)
    assert counts(tmp_path, "two") == [4]
    said = report(tmp_path / "r.json")
    assert (said["pipeline"]["accepted"], said["pipeline"]["refused"]) == (4, 8)
    assert {each["stage"] for each in said["refusals"]} == {"by"}
    lost = {uid for name, uid in base_set.uids.items() if "TestPat1" in name}
    assert {each["sop_instance_uid"] for each in said["refusals"]} == lost
    assert "by" in done.err


@pytest.mark.parametrize("kind", ["csv", "json", "toml"])
def test_a_table_says_where_a_value_goes(base_set: Corpus, tmp_path: Path, kind: str) -> None:
    table = tmp_path / f"table.{kind}"
    table.write_text(
        {
            "csv": "value,branch\nTestPat2,two\n",
            "json": '{"TestPat2": "two"}',
            "toml": 'TestPat2 = "two"\n',
        }[kind]
    )
    router = {"type": "lookup", "key": "PatientID", "table": table.name}
    run_here(routed(tmp_path, base_set, router, "two", "*"))
    assert counts(tmp_path, "two", "rest") == [4, 8]


def test_a_function_chooses_branches(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    (tmp_path / "choosing_for_us.py").write_text(
        "def choose(instance):\n"
        "    number = int(instance.header['SeriesNumber'])\n"
        "    return {1: ['one', 'odd'], 2: 'two'}.get(number, [])\n"
    )
    router = {"type": "call", "function": "choosing_for_us:choose", "branches": ["one", "two", "odd"]}
    run("run", routed(tmp_path, base_set, router, "one", "two", "odd", "*")).must(0)
    assert counts(tmp_path, "one", "two", "odd", "rest") == [6, 5, 6, 1]


# functions -----------------------------------------------------------------------------------------------------

FAILS_ONCE = """
def fail(instance):
    if str(instance.header["SeriesNumber"]) == "14":
        raise ZeroDivisionError("no part fits")
    return instance

async def wait(instance):
    return instance
"""


def with_function(folder: Path, source: Corpus, function: str, **fields: Any) -> Path:
    (folder / "functions_for_us.py").write_text(FAILS_ONCE)
    return pipeline_file(
        folder / "p.toml",
        sources={"in": {"type": "directory", "path": source.folder}},
        filters={"mine": {"type": "call", "from": "in", "function": f"functions_for_us:{function}", **fields}},
        sinks={
            "out": {"type": "directory", "from": "mine", "path": "out"},
            "bad": {"type": "quarantine", "path": "bad"},
        } if fields.get("on-error") == "bad" else {"out": {"type": "directory", "from": "mine", "path": "out"}},
    )  # fmt: skip


def test_a_function_that_fails_for_one_fails_for_one_only(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    done = run("run", with_function(tmp_path, base_set, "fail"), "--report", tmp_path / "r.json").must(1)
    assert counts(tmp_path, "out") == [11]
    said = report(tmp_path / "r.json")
    (refusal,) = said["refusals"]
    (lost,) = (uid for name, uid in base_set.uids.items() if "/14/" in name)
    assert (refusal["stage"], refusal["sop_instance_uid"]) == ("mine", lost)
    assert "no part fits" in refusal["reason"]
    assert refusal["path"].endswith("14/001.dcm")
    assert "no part fits" in done.err


def test_what_fails_lands_in_quarantine_with_the_reason(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    file = with_function(tmp_path, base_set, "fail", **{"on-error": "bad"})
    run("run", file, "--report", tmp_path / "r.json").must(
        0
    )  # handing to an on-error sink counts as accepted
    assert counts(tmp_path, "out") == [11]
    kept = visible(tmp_path / "bad")
    (reason,) = (path for path in kept if path.suffix == ".json")
    (instance,) = (path for path in kept if path.suffix != ".json")
    (name,) = (name for name in base_set if "/14/" in name)
    assert pydicom.dcmread(instance).SOPInstanceUID == base_set.uids[name]
    text = reason.read_text()
    for word in ("mine", "no part fits", base_set.uids[name]):
        assert word in text
    assert report(tmp_path / "r.json")["pipeline"]["accepted"] == 12


def test_skip_lets_it_go(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    file = with_function(tmp_path, base_set, "fail", **{"on-error": "skip"})
    run("run", file, "--report", tmp_path / "r.json").must(0)
    assert counts(tmp_path, "out") == [11]
    assert report(tmp_path / "r.json")["pipeline"]["refused"] == 0


def test_stop_stops_and_names_the_stage(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    done = run("run", with_function(tmp_path, base_set, "fail", **{"on-error": "stop"})).must(1)
    assert "mine" in done.err
    assert len(visible(tmp_path / "out")) < 12


def test_an_async_function_is_a_filter_too(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    run("run", with_function(tmp_path, base_set, "wait")).must(0)
    assert counts(tmp_path, "out") == [12]


@pytest.mark.parametrize(
    "function", ["functions_for_us:nothing", "no_such_module:x", "functions_for_us", "os:sep"]
)
def test_a_function_that_is_not_there_is_found_before_anything_moves(
    run: Command, base_set: Corpus, tmp_path: Path, function: str
) -> None:
    file = with_function(tmp_path, base_set, "wait")
    file.write_text(file.read_text().replace("functions_for_us:wait", function))
    done = run("run", file).must(2)
    assert "mine" in done.err
    assert not (tmp_path / "out").exists()
