"""`dcmflow query` and real archives: each of them is asked for the same things and gives what it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

import corpus
from acceptance_kit import Command
from acceptance_query import KEYS, document, entities, leaves, speaks_of, tally, uids
from base_data import BASE, ECHOES, MPRAGE, PRIVATE, SUBSETS, Fact, Subset, matching, paths, tree
from corpus import CHAR_NAMES, Corpus
from dcmflow import Level, Record
from dcmflow.catalog.catalog import Catalog
from peers.archives import KINDS, Archive, Archives
from peers.base import Address
from peers.orthanc import Orthanc

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

LEVELS = ("patient", "study", "series", "image")
SAYS_NOTHING_OF_SERIES = ("dcmqrscp", "qrscp")


def found(text: str) -> set[tuple[str, ...]]:
    """The unique keys of each leaf, from the patient down."""
    lowest = LEVELS.index(document(text)["level"])
    return {tuple(leaf[key] for key in KEYS[: lowest + 1]) for leaf in leaves(text)}


# all that there is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_each_level_of_everything_is_what_was_put_there(run: Command, archive: Archive, level: str) -> None:
    done = run("query", archive.address, "--level", level, "--assume-yes").must(0)
    assert found(done.out) == paths(level, archive.expected)
    depth = LEVELS.index(level) + 1
    assert tally(done) == archive.counts[:depth] + (0,) * (4 - depth)


@pytest.mark.parametrize("level", ["patient", "study", "series"])
def test_a_tree_has_every_entity_in_order_and_counts_or_question_marks(
    run: Command, archive: Archive, level: str
) -> None:
    out = run("query", archive.address, "--level", level, "--assume-yes", "--format", "tree").must(0).out
    places = [out.index(patient) for patient in tree(archive.expected)]
    assert places == sorted(places)
    if level != "patient":
        found = re.findall(r"\b(2018|2019)-?(0[56])-?(30|15|25)\b", out)
        assert ("2018", "05", "30") in found
        assert found.index(("2018", "05", "30")) < found.index(("2019", "06", "25")), "studies by date"
    if archive.kind == "orthanc":
        assert re.search(r"\b(12|8|5|3|4) ", out)
    else:
        assert "?" in out
    assert not re.search(r"\b0 (images|series|studies|instances)", out)


def test_a_terminal_tree_of_images_counts_what_it_shows(run: Command, archive: Archive) -> None:
    out = run("query", archive.address, "--level", "image", "--assume-yes", "--format", "tree").must(0).out
    _, studies, series, images = archive.counts
    speaks_of(out, "2 patients", f"{studies} studies", f"{series} series", f"{images} (images|instances)")


# parts of it --------------------------------------------------------------------------------------------------------


def of(subset: Subset, archive: Archive) -> tuple[Fact, ...]:
    return subset.of(archive.expected)


def earlier(facts: Iterable[Fact], level: str) -> str:
    """A result of an earlier query, as a document."""
    depth = LEVELS.index(level)
    catalog = Catalog(Level(depth))
    for path in sorted(paths(level, facts)):
        catalog.add(Record(Level(depth), dict(zip(KEYS, map(str, path), strict=False))))
    return catalog.to_json()


@pytest.mark.parametrize("name", SUBSETS)
def test_an_earlier_result_is_refined_to_exactly_its_images(
    run: Command, archive: Archive, name: str
) -> None:
    facts = of(SUBSETS[name], archive)
    lowest = max((level for level, _ in SUBSETS[name].requests), key=LEVELS.index)
    before = earlier(facts, lowest)
    done = run("query", archive.address, "--from", "-", "--level", "image", input=before).must(0)
    assert found(done.out) == paths("image", facts)


@pytest.mark.parametrize("fact", [ECHOES[1], MPRAGE], ids=["echo", "mprage"])
def test_an_image_is_found_by_its_uid_alone(run: Command, archive: Archive, fact: Fact) -> None:
    done = run("query", archive.address, f"SOPInstanceUID={fact.image}").must(0)
    assert found(done.out) == {fact.path}


def test_a_series_is_found_by_its_uid_alone(run: Command, archive: Archive) -> None:
    done = run("query", archive.address, f"SeriesInstanceUID={MPRAGE.series}").must(0)
    assert found(done.out) == {MPRAGE.path[:3]}


def test_images_of_a_study_are_found_by_its_accession_number(run: Command, archive: Archive) -> None:
    done = run("query", archive.address, "AccessionNumber=ACC20190615", "--level", "image").must(0)
    assert found(done.out) == paths("image", matching({"AccessionNumber": "ACC20190615"}, archive.expected))


def test_a_description_that_not_every_archive_knows(run: Command, archive: Archive) -> None:
    """Those who do not return it give nothing and a warning, and never everything."""
    done = run("query", archive.address, "SeriesDescription=*MPRAGE*")
    if archive.kind in SAYS_NOTHING_OF_SERIES:
        assert done.readable().code in (0, 1)
        assert tally(done)[2:] == (0, 0)
        speaks_of(done.err, "SeriesDescription", "--fetch-example")
    else:
        assert found(done.must(0).out) == {MPRAGE.path[:3]}


def test_one_image_of_each_series_tells_what_the_archive_does_not(run: Command, archive: Archive) -> None:
    done = run("query", archive.address, "SeriesDescription=*MPRAGE*", "--fetch-example", timeout=40).must(0)
    assert found(done.out) == {MPRAGE.path[:3]}


@pytest.mark.parametrize(
    ("words", "dates"),
    [
        (["StudyDate=20190101-20191231"], {"20190615", "20190625"}),
        (["--since", "2019-06-20"], {"20190625"}),
        (["--since", "2019-06-25"], {"20190625"}),
        (["--since", "2019-06-01", "--before", "2019-06-15"], {"20190615"}),
        (["--since", "2018-05-30", "--before", "2018-05-30"], {"20180530"}),
        (["--since", "2019-06-26"], set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_days_choose_studies_on_every_archive(
    run: Command, archive: Archive, words: list[str], dates: set[str]
) -> None:
    done = run("query", archive.address, *words).must(0)
    studies = {fact.study for fact in BASE if not fact.private and fact.text("StudyDate") in dates}
    assert uids(done, "StudyInstanceUID") == studies


def test_an_element_that_is_asked_for_is_there_or_listed_as_not_returned(
    run: Command, archive: Archive
) -> None:
    done = run("query", archive.address, "PatientID=TestPat2", "EchoTime=")
    assert done.readable().code in (0, 1)
    assert tally(done) == (1, 1, 2, 4)
    values = {leaf["SOPInstanceUID"]: leaf.get("EchoTime") for leaf in leaves(done)}
    if any(values.values()):
        assert {uid: float(value) for uid, value in values.items()} == {
            fact.image: float(fact.text("EchoTime")) for fact in matching({"PatientID": "TestPat2"})
        }
    else:
        speaks_of(done.err + done.out, "EchoTime")


def test_a_chain_of_queries_refines_at_each_step(run: Command, archive: Archive, tmp_path: Path) -> None:
    to = archive.address
    first = run("query", to, "PatientID=TestPat1", "--level", "patient").must(0)
    second = run("query", to, "--from", "-", "--level", "study", "StudyDate=20180530", input=first.out).must(
        0
    )
    file = tmp_path / "second.json"
    file.write_text(second.out)
    third = run("query", to, "--from", file, "--level", "image", "SeriesNumber=2").must(0)
    assert found(third.out) == paths("image", matching({"SeriesInstanceUID": MPRAGE.series}))
    for done in (first, second, third):
        assert str(to) in json.dumps(document(done)["provenance"])


TABLES = {
    "commas": "PatientID,AccessionNumber\nTestPat1,ACC20180530\nNobody,ACC20180530\n",
    "semicolons": "PatientID;AccessionNumber\nTestPat1;ACC20180530\nNobody;ACC20180530\n",
    "byte order mark": "\ufeffPatientID,AccessionNumber\r\nTestPat1,ACC20180530\r\nNobody,ACC20180530\r\n",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=list(TABLES))
def test_a_table_finds_what_its_rows_find(run: Command, archive: Archive, text: str, tmp_path: Path) -> None:
    table = tmp_path / "wanted.csv"
    table.write_text(text, encoding="utf-8", newline="")
    done = run("query", archive.address, "--batch", table).must(0)
    assert uids(done, "StudyInstanceUID") == {PRIVATE.study}
    speaks_of(done.err, "Nobody|row 2|line 3")


def test_nobody_is_nobody(run: Command, archive: Archive) -> None:
    assert tally(run("query", archive.address, "PatientID=Nobody").must(0)) == (0, 0, 0, 0)
    assert tally(run("query", archive.address, "PatientName=Nobody*", "--level", "image").must(0)) == (
        0,
        0,
        0,
        0,
    )


def test_a_value_with_an_equals_sign_is_a_value(run: Command, archives: Archives) -> None:
    done = run("query", archives.holding_base("dcmqrscp").address, "StudyDescription=a=b").must(0)
    assert tally(done) == (0, 0, 0, 0)


# models -------------------------------------------------------------------------------------------------------------

MODELS = {
    "no study root": (["--no-study-root"], LEVELS),
    "no patient root": (["--no-patient-root"], LEVELS),
    "patient and study only": (["--no-study-root", "--no-patient-root"], LEVELS[:2]),
    "no patient and study only": (["--no-patient-study"], LEVELS),
}


@pytest.mark.parametrize(("options", "possible"), MODELS.values(), ids=list(MODELS))
def test_each_level_by_whichever_model_is_there(
    run: Command, archives: Archives, options: list[str], possible: tuple[str, ...], tmp_path: Path
) -> None:
    with archives.start(
        "dcmqrscp", tmp_path / "a", *options, files=archives.base(), private=False
    ) as archive:
        for level in LEVELS:
            done = run("query", archive.address, "PatientID=TestPat2", "--level", level)
            if level in possible:
                wanted = matching({"PatientID": "TestPat2"})
                assert found(done.must(0).out) == paths(level, wanted)
            else:
                assert done.readable().code in (1, 3)
                speaks_of(done.err, level, re.escape(str(archive.address)))


def test_a_server_that_refuses_is_nothing_tried(run: Command, archives: Archives, tmp_path: Path) -> None:
    with archives.start("dcmqrscp", tmp_path / "a", "--refuse") as archive:
        done = run("query", archive.address, "PatientID=A").must(3)
    speaks_of(done.err, f"{archive.address} rejected the association")


# who asks whom ------------------------------------------------------------------------------------------------------


def test_an_archive_called_by_another_title_says_so(run: Command, archives: Archives, tmp_path: Path) -> None:
    with archives.start("orthanc", tmp_path / "o", DicomCheckCalledAet=True) as archive:
        wrong = Address(archive.address.port, "NOBODY")
        for command in (["query", wrong, "PatientID=A"], ["echo", wrong]):
            done = run(*command).must(3)
            speaks_of(done.err, "called AE title not recognized", "check the called AE title")
        run("query", archive.address, "PatientID=A").must(0)


def test_an_archive_that_does_not_know_us_aborts_and_we_say_what_to_ask_for(
    run: Command, archives: Archives
) -> None:
    archive = archives.holding_base("orthanc")
    done = run("query", archive.address, "PatientID=TestPat1", "--calling-ae", "STRANGER")
    assert done.readable().code in (1, 3)
    assert done.out == "" or tally(done) == (0, 0, 0, 0)
    speaks_of(done.err, "abort", "register", "STRANGER")


# other scripts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_japanese_name_never_matches_everybody(
    run: Command, archives: Archives, kind: str, char_set: Corpus, tmp_path: Path
) -> None:
    """Where the archive loses the name nothing may be found, and that is said; nobody else is found anywhere."""
    japanese = {"CHAR07", "CHAR11"}  # Yamada, and one that has the same characters in UTF-8 without saying so
    with archives.start(kind, tmp_path / "a", files=char_set.paths) as archive:
        done = run("query", archive.address, "PatientName=*山田*")
        names = run("query", archive.address, "PatientID=CHAR*").must(0)
    assert done.readable().code in (0, 1)
    assert uids(done, "PatientID") <= japanese
    assert len(leaves(names)) > 1
    told = {leaf["PatientID"]: leaf["PatientName"] for leaf in leaves(names)}
    assert told["CHAR01"] == CHAR_NAMES["latin1"][1]


# many ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Forty studies of one series with two images."""
    made = Corpus(tmp_path_factory.mktemp("forty"))
    for number in range(40):
        for image in (1, 2):
            ds = corpus.mr(
                side=2,
                patient="FORTY",
                StudyInstanceUID=corpus.uid("forty", number),
                SeriesInstanceUID=corpus.uid("forty", number, 1),
                SOPInstanceUID=corpus.uid("forty", number, 1, image),
            )
            made.save(f"{number}-{image}.dcm", ds)
    return made


def test_forty_studies_are_asked_over_few_associations(run: Command, orthanc: Orthanc, forty: Corpus) -> None:
    orthanc.add(*forty.paths)
    orthanc.register({"dcmflow": Address(1, "DCMFLOW")})
    before = len(orthanc.log)
    done = run("query", orthanc.address, "PatientID=FORTY", "--level", "image", timeout=40).must(0)
    assert tally(done) == (1, 40, 40, 80)
    assert uids(done) == set(forty.uids.values())
    associations = orthanc.log[before:].count("Association Received")
    assert 1 <= associations <= 4


def test_values_are_what_was_put_there(run: Command, archive: Archive) -> None:
    done = run("query", archive.address, "PatientID=TestPat1", "--level", "study").must(0)
    for depth, values in entities(done):
        facts = matching({KEYS[depth]: values[KEYS[depth]]}, archive.expected)
        for keyword in ("PatientName", "AccessionNumber", "StudyDescription", "StudyTime"):
            if values.get(keyword):
                assert str(values[keyword]) in {fact.text(keyword) for fact in facts}
