"""Queries to the index of a folder: C-FIND semantics, held against what pydicom reads in the files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import corpus
from base_data import BASE, ECHOES, MPRAGE, PRIVATE, Fact, matching, paths, tree
from corpus import mr, part10, uid
from dcmflow.catalog.catalog import Catalog
from dcmflow.dicom.level import UNIQUE_KEYS, Level
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.sync import Index, folder_records, index_query
from dcmflow.sync.index_facts import SHARED, Facts, Kind
from dcmflow.sync.index_schema import NAME
from dcmflow.sync.index_writer import Met, Writer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    corpus.base(folder)
    with Index.open(folder) as index:
        index.refresh()
    return folder


def asked(folder: Path, level: str | None = None, /, **keys: str) -> list[Record]:
    with Index.open(folder, create=False) as index:
        return list(index.find(Query.of(keys, level)))


def found(records: Iterable[Record]) -> set[tuple[str, ...]]:
    listed = [record.path for record in records]
    assert len(listed) == len(set(listed)), "each entity once"
    return set(listed)


# -- levels and keys


@pytest.mark.parametrize("level", ["patient", "study", "series", "image"])
def test_each_level_of_everything(base: Path, level: str) -> None:
    assert found(asked(base, level)) == paths(level)


WHOLE_STUDY = matching({"StudyInstanceUID": MPRAGE.study})  # with the object whose StudyDate is another one


@pytest.mark.parametrize(
    ("level", "keys", "facts"),
    [
        ("patient", {"PatientName": "testpat1*"}, matching({"PatientID": "TestPat1"})),
        ("patient", {"PatientName": "*PAT?^test"}, BASE),
        ("patient", {"PatientID": "TestPat2"}, matching({"PatientID": "TestPat2"})),
        ("patient", {"PatientID": "testpat2"}, ()),  # the case matters but in names, PS3.4 C.2.2.2.1
        ("patient", {"PatientBirthDate": "19800101-19801231"}, BASE),
        ("patient", {"PatientBirthDate": "-19791231"}, ()),
        ("patient", {"PatientSex": "O"}, BASE),
        ("study", {"StudyDate": "20190601-20190620"}, matching({"StudyDate": "20190615"})),
        ("study", {"StudyDate": "20180530"}, WHOLE_STUDY),
        ("study", {"StudyDate": "-20180530"}, WHOLE_STUDY),
        ("study", {"StudyDate": "19000101"}, ()),
        ("study", {"StudyTime": "14-15"}, matching({"StudyDate": "20190615"})),
        ("study", {"AccessionNumber": "ACC20190625\\ACC20190615"}, matching({"AccessionNumber": "ACC20190625"})
         + matching({"AccessionNumber": "ACC20190615"})),
        ("study", {"StudyDescription": "* 2018"}, WHOLE_STUDY),
        ("study", {"ModalitiesInStudy": "MR"}, BASE),
        ("study", {"ModalitiesInStudy": "CT"}, ()),
        ("study", {"NumberOfStudyRelatedSeries": "3"}, WHOLE_STUDY),
        ("study", {"NumberOfPatientRelatedInstances": "4"}, matching({"PatientID": "TestPat2"})),
        ("series", {"SeriesDescription": "*MPRAGE*"}, matching({"SeriesInstanceUID": MPRAGE.series})),
        ("series", {"SeriesNumber": "14"}, (PRIVATE,)),
        ("series", {"SeriesNumber": "+2", "PatientID": "TestPat2"}, ECHOES),
        ("series", {"Modality": "MR"}, BASE),
        ("series", {"SeriesInstanceUID": f"{MPRAGE.series}\\{PRIVATE.series}\\1.2.3"},
         (*matching({"SeriesInstanceUID": MPRAGE.series}), PRIVATE)),
        ("series", {"Manufacturer": "dcmflow*"}, BASE),  # is no column
        ("image", {"SOPInstanceUID": PRIVATE.image}, (PRIVATE,)),
        ("image", {"SOPClassUID": corpus.PRIVATE_SOP_CLASS}, (PRIVATE,)),
        ("image", {"InstanceNumber": "1", "SeriesNumber": "14"}, (PRIVATE,)),
        ("image", {"EchoTime": "4.25"}, ECHOES[1:]),
        ("image", {"StudyDate": "20180530", "SeriesNumber": "14"}, (PRIVATE,)),
        ("image", {"ReferencedImageSequence[0].ReferencedSOPInstanceUID": uid("BASE", "reference", 118)},
         matching({"SeriesInstanceUID": uid("BASE", "TestPat1", "20190625", 2)})),
        # of a level below
        ("patient", {"StudyDate": "20190615"}, matching({"PatientID": "TestPat2"})),
        ("study", {"SeriesDescription": "*MPRAGE*"}, WHOLE_STUDY),
        ("study", {"EchoTime": "4.25"}, matching({"PatientID": "TestPat2"})),
        ("series", {"SOPInstanceUID": PRIVATE.image}, (PRIVATE,)),
        # nothing that restricts
        ("study", {"PatientName": "*", "StudyDate": "", "AccessionNumber": " "}, BASE),
        ("study", {"PatientName": "Nobody*"}, ()),
        ("study", {"StudyDescription": "'; DROP TABLE files; --"}, ()),
        ("study", {"PatientID": "TestPat1' OR '1'='1"}, ()),
        ("series", {"SeriesDescription": "%"}, ()),
    ],
)  # fmt: skip
def test_what_matches(base: Path, level: str, keys: dict[str, str], facts: Sequence[Fact]) -> None:
    assert found(asked(base, level, **keys)) == paths(level, facts)


def test_counts_are_those_of_everything_below(base: Path) -> None:
    everything = tree()
    for record in asked(base, "series", SeriesNumber="1"):
        patient, study, series = record.path
        studies = everything[patient]
        images = [image for one in studies.values() for series in one.values() for image in series]
        assert {key: value for key, value in record.values.items() if key.startswith("NumberOf")} == {
            "NumberOfPatientRelatedStudies": len(studies),
            "NumberOfPatientRelatedSeries": sum(map(len, studies.values())),
            "NumberOfPatientRelatedInstances": len(images),
            "NumberOfStudyRelatedSeries": len(studies[study]),
            "NumberOfStudyRelatedInstances": sum(map(len, studies[study].values())),
            "NumberOfSeriesRelatedInstances": len(studies[study][series]),
        }
        assert record.get("ModalitiesInStudy") == "MR"


def test_what_is_asked_for_is_returned(base: Path) -> None:
    keys = {
        "EchoTime": "",
        "SeriesNumber": "14",
        "ReferencedImageSequence": "",
        "ImageComments": "",
        "BodyPartExamined": "",
    }
    (record,) = asked(base, "image", **keys)
    assert record.get("EchoTime") == 2.46
    assert record.get("BodyPartExamined") == ""
    assert record.get("ImageComments") == ""
    assert "ReferencedImageSequence" in record.values
    (long,) = asked(base, "image", ReferencedImageSequence="", SeriesDescription="t2*")
    assert len(long.get("ReferencedImageSequence")) == 119


def test_the_first_file_decides_where_files_disagree(base: Path) -> None:
    (record,) = asked(base, "study", StudyInstanceUID=PRIVATE.study)
    assert record.get("StudyDate") == "20180530"
    (image,) = asked(base, "image", SOPInstanceUID=PRIVATE.image)
    assert image.get("StudyDate") == "20180530"


def test_private_elements_by_their_creator(tmp_path: Path) -> None:
    ds = mr()
    block = ds.private_block(0x0019, "ACME 1.1", create=True)
    block.add_new(0x10, "LO", "inner")
    (tmp_path / "1.dcm").write_bytes(part10(ds))
    (tmp_path / "2.dcm").write_bytes(part10(mr(SOPInstanceUID="2.25.9")))
    with Index.open(tmp_path) as index:
        index.refresh()
        (record,) = index.find(Query.of({'("ACME 1.1",0019,10)': "in*"}))
    assert record.uid == ds.SOPInstanceUID


def test_nothing_stays_unverified(tmp_path: Path) -> None:
    corpus.holes(tmp_path)
    with Index.open(tmp_path) as index:
        index.refresh()
        # two of the images have no number, and are no match for any
        assert len(list(index.find(Query.of({"InstanceNumber": "1"})))) == 16
        patients = {record.uid for record in index.find(Query(Level.PATIENT, {}))}
    assert patients == {"HOLES", ""}


@pytest.mark.parametrize("name", ["A*", "A?"])
def test_an_asterisk_in_a_file_is_a_character(tmp_path: Path, name: str) -> None:
    (tmp_path / "1.dcm").write_bytes(part10(mr(StudyDescription=name)))
    with Index.open(tmp_path) as index:
        index.refresh()
        assert len(list(index.find(Query.of({"StudyDescription": name})))) == 1


def test_names_in_every_character_set(tmp_path: Path) -> None:
    corpus.char(tmp_path)
    with Index.open(tmp_path) as index:
        index.refresh()
        for name, (_, text) in corpus.CHAR_NAMES.items():
            records = list(
                index.find(Query.of({"PatientName": text.split("=")[-1], "PatientID": ""}, "patient"))
            )
            assert records, name
        (yamada,) = index.find(Query.of({"PatientName": "*山田^*"}, "patient"))
    assert yamada.text("PatientName").startswith("Yamada")


def test_contradicting_files_are_found_under_both_parents(tmp_path: Path) -> None:
    made = corpus.clash(tmp_path)
    study, same = uid("CLASH", "study", "study"), made.uids["same-uid-a.dcm"]
    with Index.open(tmp_path) as index:
        index.refresh()
        studies = list(index.find(Query.of({"StudyInstanceUID": study})))
        assert {record.get("PatientID") for record in studies} == {"CLASH study", "CLASH other"}
        images = list(index.find(Query.of({"SOPInstanceUID": same})))
        assert len({record.get("SeriesInstanceUID") for record in images}) == 2
        (copied,) = index.find(Query.of({"SOPInstanceUID": made.uids["copy-a.dcm"]}))
        assert copied.get("NumberOfSeriesRelatedInstances") == 1
        catalog = index.catalog(Query(Level.STUDY, {}))
    assert {conflict.kind for conflict in catalog.conflicts} >= {"parent"}


def test_a_catalog_says_where_it_comes_from(base: Path) -> None:
    query = Query.of({"PatientID": "TestPat1"}, "series")
    with Index.open(base) as index:
        catalog = index.catalog(query)
    assert set(catalog.uids()) == {fact.series for fact in matching({"PatientID": "TestPat1"})}
    (origin,) = catalog.provenance
    assert (origin.source, origin.query, origin.level) == (str(base), {"PatientID": "TestPat1"}, Level.SERIES)
    assert isinstance(catalog, Catalog)


def test_paths_of_what_matches(base: Path) -> None:
    with Index.open(base) as index:
        of_study = dict(index.paths(Query.of({"StudyInstanceUID": MPRAGE.study})))
        assert of_study == {fact.image: base / fact.file for fact in WHOLE_STUDY}
        assert dict(index.paths([PRIVATE.image, "1.2.3"])) == {PRIVATE.image: base / PRIVATE.file}


def test_a_file_that_is_gone_is_left_out_and_named(tmp_path: Path) -> None:
    made = corpus.base(tmp_path)
    with Index.open(tmp_path) as index:
        index.refresh()
        made.paths[0].unlink()
        assert len(list(index.find(Query.of({"EchoTime": "2.46"})))) == 10
        assert any(str(made.paths[0]) in note for note in index.notes)


def test_a_refresh_does_not_disturb_who_reads(tmp_path: Path) -> None:
    made = corpus.base(tmp_path)
    with Index.open(tmp_path) as index:
        index.refresh()
        records = index.find(Query(Level.IMAGE, {}))
        first = next(records)
        for path in made.paths:
            path.unlink()
        assert index.refresh().gone == 12
        assert {first.uid, *(record.uid for record in records)} == set(made.uids.values())
        assert not list(index.find(Query(Level.IMAGE, {})))


# -- folders with and without an index


@pytest.mark.parametrize("indexed", [True, False])
def test_a_folder_is_asked_all_the_same(tmp_path: Path, indexed: bool) -> None:
    corpus.base(tmp_path)
    if indexed:
        with Index.open(tmp_path) as index:
            index.refresh()
    (tmp_path / "new.dcm").write_bytes(part10(mr(patient="New")))
    query = Query(Level.PATIENT, {})
    assert {record.uid for record in folder_records(tmp_path, query)} == {"TestPat1", "TestPat2", "New"}
    assert (tmp_path / NAME).exists() is indexed


# -- what SQL leaves out early is never what matches

TEXTS = st.text(alphabet="AaB1 *?\\'%_é\u0301\u212a", max_size=4)
DATES = st.sampled_from(["20190101", "20190102", "2019.01.01", "", "20190101\\20180101", "x", "201901"])
UIDS = st.sampled_from(["1.1", "1.2", "1.3"])
KEYS = st.fixed_dictionaries(
    {},
    optional={
        "PatientID": TEXTS,
        "PatientName": TEXTS,
        "AccessionNumber": TEXTS,
        "StudyDate": st.sampled_from(
            ["20190101", "-20190101", "20190102-", "20190101-20190101", "2019.01.01", "2018"]
        ),
        "StudyInstanceUID": st.sampled_from(["1.1", "1.1\\1.2", "1"]),
        "SeriesInstanceUID": UIDS,
        "SOPInstanceUID": st.sampled_from(["1.1", "1.2\\1.3"]),
        "Modality": st.sampled_from(["A", "B", "A\\B", "A*"]),
        "ModalitiesInStudy": st.sampled_from(["A", "B", " A"]),
    },
)
FILES = st.lists(
    st.fixed_dictionaries(
        {
            "PatientID": TEXTS,
            "PatientName": TEXTS,
            "AccessionNumber": TEXTS | st.none(),
            "StudyDate": DATES | st.none(),
            "StudyInstanceUID": UIDS,
            "SeriesInstanceUID": UIDS,
            "SOPInstanceUID": UIDS,
            "Modality": st.sampled_from(["A", "B", "A\\B", " A"]),
        }
    ),
    max_size=6,
)


@given(FILES, KEYS, st.sampled_from(list(Level)))
def test_sql_leaves_out_nothing_that_matches(
    tmp_path_factory: pytest.TempPathFactory, files: list[dict[str, Any]], keys: dict[str, str], level: Level
) -> None:
    folder = tmp_path_factory.mktemp("made")
    query = Query(level, keys)
    with Index.open(folder) as index:
        writer = Writer(index._db)
        for number, values in enumerate(files):
            shared = tuple(values.get(keyword) for keyword in SHARED)
            facts = Facts(Kind.INSTANCE, "", "1.2.840.10008.1.2", shared, "1.2", values["SOPInstanceUID"], 1)
            writer.put(Met(b"", b"%d" % number, 1, 1, facts))
        writer.finish()
        narrow = [dict(record.values) for record in index.find(query)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(index_query, "narrowed", lambda _query: ("", ()))
            wide = [dict(record.values) for record in index.find(query)]
    assert narrow == wide
    assert all(set(UNIQUE_KEYS[: level + 1]) <= record.keys() for record in narrow)
