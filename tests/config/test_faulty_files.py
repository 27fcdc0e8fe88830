"""Everything that can be wrong in a pipeline file, and how it is told: file, table, key, line, and what was meant."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from dcmflow.config.pipeline_file import load, loads
from dcmflow.errors import ConfigError

SOURCE = '[sources.in]\ntype = "inlet"\n'
SINK = '[sinks.out]\ntype = "discard"\nfrom = "in"\n'
GOOD = SOURCE + SINK
ROUTER = SOURCE + '[routers.kind]\ntype = "match"\nfrom = "in"\nbranch.ct = "Modality == \'CT\'"\n'


class Faulty(NamedTuple):
    """A file, where its error is (the line that ends with `# here`, if any) and what the error says."""

    text: str
    table: str | None
    key: str | None
    says: str


FILES = {
    # the file as a whole
    "empty": Faulty("", None, None, "the file is empty"),
    "only-comments": Faulty("# nothing\n", None, None, "the file is empty"),
    "unknown-key": Faulty(f'nam = "x" # here\n{GOOD}', None, "nam", "did you mean 'name'?"),
    "unknown-table": Faulty(
        f'{GOOD}[sink.a] # here\ntype = "discard"', "sink", None, "did you mean 'sinks'?"
    ),
    "unlike-any-table": Faulty(f"{GOOD}[zzz] # here", "zzz", None, "there are: name, limits, nodes"),
    "kind-is-no-table": Faulty(f"filters = 3 # here\n{GOOD}", None, "filters", "filters is a table, not 3"),
    "array-of-tables": Faulty(
        f"{GOOD}[[filters]] # here\n", None, "filters", "filters is a table, not a list"
    ),
    "stage-without-name": Faulty(
        f'{SOURCE}[sinks]\ntype = "discard" # here', "sinks", "type", "each sink is a table of its own"
    ),
    "stage-twice": Faulty(
        f"{GOOD}[sinks.out]\n", "sinks.out", None, "the table [sinks.out] is written twice"
    ),
    "key-twice": Faulty(f'{GOOD}from = "in"', None, None, "Cannot overwrite a value"),
    "no-toml": Faulty(f"{GOOD}[sinks.x # here", None, None, "Expected ']'"),
    "bare-word": Faulty(f"{GOOD}workers = many # here", None, None, "Invalid value"),
    # name and limits
    "name-is-no-text": Faulty(f"name = 3 # here\n{GOOD}", None, "name", "expected a text"),
    "name-is-empty": Faulty(f'name = " " # here\n{GOOD}', None, "name", "not empty"),
    "limits-is-no-table": Faulty(f"limits = 3 # here\n{GOOD}", None, "limits", "expected a table such as"),
    "limits-unknown-key": Faulty(
        f"limits = {{ instance = 3 }} # here\n{GOOD}", "limits", "instance", "did you mean 'instances'?"
    ),
    "limits-too-small": Faulty(
        f"limits = {{ instances = 0 }} # here\n{GOOD}",
        "limits",
        "instances",
        "expected a whole number >= 1, got 0",
    ),
    "limits-wrong-type": Faulty(
        f'limits.instances = "x" # here\n{GOOD}',
        "limits",
        "instances",
        "expected a whole number, got the text 'x'",
    ),
    "limits-bad-size": Faulty(
        f'[limits]\nmemory = "2 GBB" # here\n{GOOD}', "limits", "memory", "not a size: '2 GBB'"
    ),
    # nodes and selectors
    "node-unknown-key": Faulty(
        f'{GOOD}[nodes.a]\nadress = "A@b" # here', "nodes.a", "adress", "did you mean 'address'?"
    ),
    "node-bad-address": Faulty(
        f'{GOOD}[nodes.a]\naddress = "A@b:c" # here', "nodes.a", "address", "'c' is no port"
    ),
    "node-address-and-host": Faulty(
        f'{GOOD}[nodes.a]\naddress = "A@b"\nhost = "b" # here', "nodes.a", "host", "host is said twice"
    ),
    "node-is-no-table": Faulty(f'{GOOD}[nodes]\na = "A@b" # here', "nodes", "a", "write [nodes.a]"),
    "node-without-host": Faulty(f"{GOOD}[nodes.a] # here\nport = 104", "nodes.a", None, "where is it?"),
    "node-bad-timeout": Faulty(
        f'{GOOD}[nodes.a]\nhost = "b"\ntimeouts = {{ dimse = "1 parsec" }} # here',
        "nodes.a",
        "timeouts.dimse",
        "not a duration: '1 parsec'",
    ),
    "named-selector": Faulty(
        f'{GOOD}[selectors]\nct = "Modality = CT" # here',
        "selectors",
        "ct",
        "\n  Modality = CT\n           ^",
    ),
    "named-selectors-in-a-circle": Faulty(
        f'{GOOD}[selectors]\na = "not b" # here\nb = "not a"', "selectors", "a", "circle"
    ),
    "selector-is-no-text": Faulty(
        f"{GOOD}[selectors]\na = 1 # here", "selectors", "a", "expected a text, got 1"
    ),
    # type
    "type-missing": Faulty(
        f'{SOURCE}[sinks.out] # here\nfrom = "in"',
        "sinks.out",
        "type",
        "'type' is missing: which sink is it?",
    ),
    "type-misspelt-key": Faulty(
        f'{SOURCE}[sinks.out] # here\ntyp = "discard"\nfrom = "in"',
        "sinks.out",
        "type",
        "did you mean 'type' by 'typ'?",
    ),
    "type-unknown": Faulty(
        f'{SOURCE}[sinks.out]\ntype = "diskard" # here\nfrom = "in"',
        "sinks.out",
        "type",
        "did you mean 'discard'?",
    ),
    "type-unlike-any": Faulty(
        f'{SOURCE}[sinks.out]\ntype = "xyzzy" # here\nfrom = "in"', "sinks.out", "type", "; there are: "
    ),
    "type-of-another-kind": Faulty(
        f'{SOURCE}[sinks.out]\ntype = "dedupe" # here\nfrom = "in"',
        "sinks.out",
        "type",
        "there is a filter of that type",
    ),
    "type-is-no-text": Faulty(
        f'{SOURCE}[sinks.out]\ntype = 1 # here\nfrom = "in"', "sinks.out", "type", "expected a text, got 1"
    ),
    # fields
    "field-unknown": Faulty(f"{GOOD}worker = 3 # here", "sinks.out", "worker", "did you mean 'workers'?"),
    "field-unlike-any": Faulty(f"{GOOD}zzz = 3 # here", "sinks.out", "zzz", "; there are: from, inbox"),
    "field-misspelt-from": Faulty(
        f'{SOURCE}[sinks.out]\ntype = "discard"\nform = "in" # here',
        "sinks.out",
        "form",
        "did you mean 'from'?",
    ),
    "field-in-snake-case": Faulty(
        f'{GOOD}on_error = "skip" # here', "sinks.out", "on_error", "did you mean 'on-error'?"
    ),
    "field-missing": Faulty(
        f'{GOOD}[sinks.b] # here\ntype = "directory"\nfrom = "in"',
        "sinks.b",
        "path",
        "'path' is missing: The folder",
    ),
    "field-wrong-type": Faulty(
        f'{GOOD}workers = "many" # here',
        "sinks.out",
        "workers",
        "expected a whole number, got the text 'many'",
    ),
    "field-out-of-range": Faulty(
        f"{GOOD}workers = 0 # here", "sinks.out", "workers", "expected a whole number >= 1, got 0"
    ),
    "field-is-a-date": Faulty(
        f"{GOOD}on-error = 2020-01-01 # here", "sinks.out", "on-error", "2020-01-01; put it in quotes"
    ),
    "field-boolean": Faulty(
        f"{GOOD}required = 1 # here", "sinks.out", "required", "expected true or false, got 1"
    ),
    "field-bad-choice": Faulty(
        f'{GOOD}[sinks.b]\ntype = "directory"\nfrom = "in"\npath = "x"\nexists = "replac" # here',
        "sinks.b",
        "exists",
        "did you mean 'replace'?",
    ),
    "field-list-item": Faulty(
        f'{GOOD}[sources.b]\ntype = "directory"\npath = "x"\nexclude = ["a", 1] # here',
        "sources.b",
        "exclude",
        "expected a text, got 1",
    ),
    "nested-unknown": Faulty(
        f"{GOOD}retry = {{ attemts = 3 }} # here", "sinks.out", "retry.attemts", "did you mean 'attempts'?"
    ),
    "nested-wrong-type": Faulty(
        f'{GOOD}retry.attempts = "x" # here', "sinks.out", "retry.attempts", "expected a whole number"
    ),
    "nested-bad-duration": Faulty(
        f'{GOOD}retry = {{ first = "1 parsec" }} # here',
        "sinks.out",
        "retry.first",
        "not a duration: '1 parsec'",
    ),
    "nested-is-no-table": Faulty(f"{GOOD}retry = 3 # here", "sinks.out", "retry", "expected a table, got 3"),
    "name-in-the-table": Faulty(f'{GOOD}name = "x" # here', "sinks.out", "name", "leave 'name' out"),
    "bad-layout": Faulty(
        f'{GOOD}[sinks.b]\ntype = "directory"\nfrom = "in"\npath = "x"\nlayout = "../{{PatientID}}" # here',
        "sinks.b",
        "layout",
        "^",
    ),
    "bad-keyword-in-a-layout": Faulty(
        f'{GOOD}[sinks.b]\ntype = "directory"\nfrom = "in"\npath = "x"\nlayout = "{{PatientId}}/x" # here',
        "sinks.b",
        "layout",
        "PatientID",
    ),
    "bad-selector": Faulty(
        f'{GOOD}[filters.f]\ntype = "where"\nfrom = "in"\nmatch = "Modality == \'CT\' an Rows > 3" # here',
        "filters.f",
        "match",
        "\n  Modality == 'CT' an Rows > 3\n                   ^^",
    ),
    "bad-selector-of-a-branch": Faulty(
        f'{ROUTER}branch.mr = "Modalty == \'MR\'" # here\n[sinks.out]\ntype = "discard"\nfrom = "kind.*"',
        "routers.kind",
        "branch.mr",
        "Modality",
    ),
    "unknown-named-selector": Faulty(
        f'{GOOD}[selectors]\nours = "Rows > 1"\n[filters.f]\ntype = "where"\nfrom = "in"\nmatch = "our" # here',
        "filters.f",
        "match",
        "ours",
    ),
    "bad-keyword-of-an-edit": Faulty(
        f'{GOOD}[filters.f]\ntype = "edit"\nfrom = "in"\nremove = ["PatientNam"] # here',
        "filters.f",
        "remove",
        "PatientName",
    ),
    "variable-missing": Faulty(
        f'{GOOD}[sinks.b]\ntype = "directory"\nfrom = "in"\npath = "${{DCMFLOW_NOT_SET}}" # here',
        "sinks.b",
        "path",
        "the environment variable DCMFLOW_NOT_SET is not set",
    ),
    "variable-broken": Faulty(
        f'{GOOD}[sinks.b]\ntype = "directory"\nfrom = "in"\npath = "${{" # here',
        "sinks.b",
        "path",
        "name of a variable",
    ),
    "variable-in-the-name": Faulty(
        f'name = "${{DCMFLOW_NOT_SET}}" # here\n{GOOD}', None, "name", "DCMFLOW_NOT_SET is not set"
    ),
    # names
    "name-with-a-dot": Faulty(
        f'{GOOD}[filters."a.b"] # here\ntype = "dedupe"\nfrom = "in"', 'filters."a.b"', None, "has no dots"
    ),
    "name-reserved": Faulty(
        f'{GOOD}[filters.skip] # here\ntype = "dedupe"\nfrom = "in"',
        "filters.skip",
        None,
        "is not refuse, skip, stop",
    ),
    "name-blank": Faulty(
        f'{GOOD}[filters.""] # here\ntype = "dedupe"\nfrom = "in"', 'filters.""', None, "not empty"
    ),
    "name-in-two-kinds": Faulty(
        f'{GOOD}[filters.x]\ntype = "dedupe"\nfrom = "in"\n[sinks.x] # here\ntype = "discard"\nfrom = "in"',
        "sinks.x",
        None,
        "two stages have the name 'x': the other one is [filters.x] on line 6",
    ),
    # wiring
    "from-missing": Faulty(
        f'{SOURCE}[sinks.out] # here\ntype = "discard"', "sinks.out", "from", "for example from = 'in'"
    ),
    "from-empty": Faulty(
        f'{SOURCE}[sinks.out]\ntype = "discard"\nfrom = [] # here', "sinks.out", "from", "gets nothing"
    ),
    "from-unknown": Faulty(
        '[sources.inbox]\ntype = "inlet"\n[sinks.out]\ntype = "discard"\nfrom = "inbx" # here',
        "sinks.out",
        "from",
        "there is no stage 'inbx'; did you mean 'inbox'?",
    ),
    "from-is-no-text": Faulty(
        f'{SOURCE}[sinks.out]\ntype = "discard"\nfrom = 3 # here',
        "sinks.out",
        "from",
        "the name of a stage or a list",
    ),
    "from-on-a-source": Faulty(
        f'{GOOD}[sources.b]\ntype = "inlet"\nfrom = "in" # here',
        "sources.b",
        "from",
        "a source takes nothing in",
    ),
    "from-a-sink": Faulty(
        f'{GOOD}[filters.f]\ntype = "dedupe"\nfrom = "out" # here', "filters.f", "from", "'out' is a sink"
    ),
    "from-a-router": Faulty(
        f'{ROUTER}[sinks.out]\ntype = "discard"\nfrom = "kind" # here',
        "sinks.out",
        "from",
        "say which branch, 'kind.ct' or 'kind.*'",
    ),
    "from-an-unknown-branch": Faulty(
        f'{ROUTER}[sinks.out]\ntype = "discard"\nfrom = "kind.cd" # here',
        "sinks.out",
        "from",
        "did you mean 'kind.ct'?",
    ),
    "from-a-branch-of-a-filter": Faulty(
        f'{SOURCE}[filters.f]\ntype = "dedupe"\nfrom = "in"\n[sinks.out]\ntype = "discard"\nfrom = "f.x" # here',
        "sinks.out",
        "from",
        "'f' is a filter and has no branches",
    ),
    "branch-leads-nowhere": Faulty(
        ROUTER.replace("[routers.kind]", "[routers.kind] # here")
        + '[sinks.out]\ntype = "discard"\nfrom = "kind.*"',
        "routers.kind",
        None,
        "some stage has to take from 'kind.ct'",
    ),
    "on-error-unknown": Faulty(
        f'{GOOD}[sinks.bad]\ntype = "discard"\nfrom = "in"\non-error = "ot" # here',
        "sinks.bad",
        "on-error",
        "did you mean 'out'?",
    ),
    "on-error-misspelt-word": Faulty(
        f'{GOOD}on-error = "refuze" # here', "sinks.out", "on-error", "did you mean 'refuse'?"
    ),
    "on-error-is-no-sink": Faulty(
        f'{GOOD}on-error = "in" # here', "sinks.out", "on-error", "'in' is a source; only a sink"
    ),
    "cycle": Faulty(
        f'{GOOD}[filters.a] # here\ntype = "dedupe"\nfrom = ["in", "b"]\n[filters.b]\ntype = "dedupe"\nfrom = "a"\n'
        '[sinks.o]\ntype = "discard"\nfrom = "b"',
        "filters.a",
        None,
        "a cycle: ",
    ),
    "cycle-of-one": Faulty(
        f'{GOOD}[filters.a] # here\ntype = "dedupe"\nfrom = ["in", "a"]\n[sinks.o]\ntype = "discard"\nfrom = "a"',
        "filters.a",
        None,
        "a cycle: a → a",
    ),
    "cycle-by-on-error": Faulty(
        f'{SOURCE}[sinks.out] # here\ntype = "discard"\nfrom = "in"\non-error = "out"',
        "sinks.out",
        None,
        "a cycle: out → out",
    ),
    "no-source": Faulty(
        '[sinks.a]\ntype = "discard"\non-error = "b"\n[sinks.b]\ntype = "discard"\non-error = "a"\n',
        None,
        None,
        "there is no source",
    ),
    "no-sink": Faulty(SOURCE, None, None, "there is no sink"),
    "source-leads-nowhere": Faulty(
        f'{GOOD}[sources.b] # here\ntype = "inlet"', "sources.b", None, "source 'b' leads nowhere"
    ),
    "filter-leads-nowhere": Faulty(
        f'{GOOD}[filters.f] # here\ntype = "dedupe"\nfrom = "in"',
        "filters.f",
        None,
        "filter 'f' leads nowhere",
    ),
}


@pytest.mark.parametrize("faulty", FILES.values(), ids=FILES.keys())
def test_faulty_file(faulty: Faulty, tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(faulty.text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file, environ={})
    error = caught.value
    assert faulty.says in error.problem
    assert (error.file, error.table, error.key) == (str(file), faulty.table, faulty.key)
    marked = [number for number, line in enumerate(faulty.text.split("\n"), 1) if line.endswith("# here")]
    if marked:
        assert error.line == marked[0]
    with pytest.raises(ConfigError) as again:
        loads(faulty.text, file=file, environ={})
    assert str(again.value) == str(error)


def test_the_good_parts_are_good() -> None:
    assert list(loads(GOOD).graph.stages) == ["in", "out"]


def test_syntax_errors_have_line_and_column() -> None:
    with pytest.raises(ConfigError) as caught:
        loads('name = "x"\n[sinks.a]\ntype = \n', file="p.toml")
    assert str(caught.value) == "p.toml:3:8: Invalid value"
    with pytest.raises(ConfigError) as caught:
        loads('name = """x\ny', file="p.toml")
    assert (caught.value.line, caught.value.column) == (2, 2)


def test_a_selector_keeps_its_caret_and_tells_no_column_of_the_file() -> None:
    with pytest.raises(ConfigError) as caught:
        loads(FILES["bad-selector"].text, file="p.toml")
    assert caught.value.column is None
    assert str(caught.value).startswith("p.toml:9 [filters.f] match: ")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "p.toml")
    assert str(caught.value) == f"{tmp_path / 'p.toml'}: there is no such pipeline file"


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this is a directory, not a pipeline file"):
        load(tmp_path)


def test_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_bytes(GOOD.encode() + "# M\xfcnchen\n".encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert (caught.value.line, caught.value.column) == (6, 4)
    assert "byte 0xFC is not UTF-8" in caught.value.problem


def test_an_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be read: Not a directory"):
        load(tmp_path / "file" / "p.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load("a\0b")


def test_a_file_that_may_not_be_read() -> None:
    code = (
        "import os, sys\n"
        "from dcmflow.config.pipeline_file import load\n"
        "from dcmflow.errors import ConfigError\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"  # root may read everything
        "try: load(sys.argv[1])\n"
        "except ConfigError as error: print(error)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "p.toml"
        file.write_text(GOOD)
        file.chmod(0)
        Path(folder).chmod(0o755)
        done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    assert done.stdout == f"{file}: the pipeline file cannot be read: Permission denied\n"
