"""The runner of the documentation's code blocks notices what is wrong on a page."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from docs_runner import Block, PageError, blocks, matches, ports, run_page, session


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.md"


def _write(page: Path, *fences: tuple[str, str]) -> None:
    text = "# Title\n\n"
    for kind, code in fences:
        text += f"```{kind}\n{code}\n```\n\n"
    page.write_text(text, encoding="utf-8")


def _run(page: Path) -> int:
    folder = page.parent / "run"
    folder.mkdir()
    return run_page(page, folder).blocks


def test_blocks_know_their_line() -> None:
    text = "one\n\n```python\nx = 1\n```\n\n- item\n\n  ```toml fragment\n  a = 1\n  ```\n"
    assert blocks(text) == [Block(4, "python", "x = 1\n"), Block(10, "toml fragment", "a = 1\n")]


def test_python_blocks_share_names(page: Path) -> None:
    _write(page, ("python", "x = 1"), ("python", "assert x == 1\nassert __name__ == '__main__'"))
    assert _run(page) == 2


def test_python_awaits_at_top_level(page: Path) -> None:
    _write(
        page,
        ("python", "import anyio\nawait anyio.sleep(0)\nseen = 1"),
        ("python", "async with anyio.create_task_group() as tasks:\n    seen += 1\nassert seen == 2"),
    )
    assert _run(page) == 2


@pytest.mark.parametrize(
    "code", ["x = 1\nassert x == 2", "x = 1\nimport anyio; await anyio.sleep(0); 1 / 0", "x = 1\nx = = 2"]
)
def test_python_error_names_the_line(page: Path, code: str) -> None:
    _write(page, ("python", code))
    with pytest.raises(PageError, match=r"page\.md:5: \w+Error"):
        _run(page)


def test_python_exit_is_an_error(page: Path) -> None:
    _write(page, ("python", "raise SystemExit(0)"))
    with pytest.raises(PageError, match=r"page\.md:4: SystemExit"):
        _run(page)


def test_files_are_written_for_later_blocks(page: Path) -> None:
    _write(
        page,
        ("toml", "# file: deep/settings.toml\nport = 11112"),
        (
            "python",
            "from pathlib import Path\nassert 'port = 11112' in Path('deep/settings.toml').read_text()",
        ),
    )
    assert _run(page) == 2


@pytest.mark.parametrize("kind", ["toml", "toml fragment"])
def test_toml_that_is_none(page: Path, kind: str) -> None:
    _write(page, (kind, "a = = 1"))
    with pytest.raises(PageError, match=r"page\.md:4: TOMLDecodeError"):
        _run(page)


@pytest.mark.parametrize("kind", ["", "pyhton", "yaml"])
def test_unknown_fence(page: Path, kind: str) -> None:
    _write(page, (kind, "x = 1"))
    with pytest.raises(PageError, match=r"page\.md:4: a fence says"):
        _run(page)


def test_console(page: Path) -> None:
    _write(
        page,
        ("python", "from pathlib import Path\nPath('a.txt').write_text('hello\\n\\nworld\\n')"),
        (
            "console",
            "$ cat a.txt\nhello\n\nworld\n$ echo one \\\ntwo; echo three >&2\none two\nthree\n"
            "$ x=5; true\n$ echo $x\n5",
        ),
        ("console", "$ false\n$ echo $?\n1"),
    )
    assert _run(page) == 3


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("$ echo hello\nhallo", "the page says\nhallo\n--- printed\nhello"),
        ("$ echo hello", "printed\nhello"),
        ("$ false", "ends with status 1"),
        ("$ false\n$ true", "ends with status 1"),
        ("$ exit 0\n$ echo hello\nhello", "ended the shell"),
        ("hello", "begins with a command"),
    ],
)
def test_console_that_differs(page: Path, code: str, complaint: str) -> None:
    _write(page, ("console", code))
    with pytest.raises(PageError, match=r"page\.md:4: ") as caught:
        _run(page)
    assert complaint in str(caught.value)


@pytest.mark.usefixtures("no_leaks")
def test_background_command_ends_with_the_page(page: Path) -> None:
    _write(page, ("console", "$ sleep 1000 & echo started\nstarted\n$ echo $! > pid"))
    assert _run(page) == 1
    pid = int((page.parent / "run" / "page" / "pid").read_text())
    status = Path(f"/proc/{pid}/stat")
    while status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":  # it is being killed
        time.sleep(0.001)


LISTEN = "import socket, time; s = socket.create_server(('127.0.0.1', 11112)); print('ready', flush=True)"


@pytest.mark.usefixtures("no_leaks")
def test_terminal_goes_on_beside_the_page(page: Path) -> None:
    _write(
        page,
        ("console background", f'$ python -c "{LISTEN}; s.accept(); print(5); s.accept()"\nready'),
        ("python", "import socket\nsocket.create_connection(('127.0.0.1', 11112)).close()"),
        ("console background", "5"),
        ("console background", "^C\n...\nKeyboardInterrupt"),
    )
    page.write_text("<!-- ports: 11112 -->\n\n" + page.read_text())
    assert _run(page) == 4
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 11112)).close()


@pytest.mark.parametrize(
    ("fences", "complaint"),
    [
        (["5"], "its first block is a command"),
        (["$ echo 5; exec sleep 1000\n6", "^C"], "the page says\n6\n--- printed\n5"),
        (["$ exec sleep 1000", "^C\nbye"], "the page says\nbye"),
        (["$ exec sleep 1000", "$ exec sleep 1000"], "goes on already"),
        (["$ trap 'exit 3' INT; while :; do sleep 0.1; done", "^C"], "status 3"),
    ],
)
def test_terminal_that_differs(
    page: Path, fences: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docs_runner._PATIENCE", 1)
    _write(page, *(("console background", fence) for fence in fences))
    with pytest.raises(PageError) as caught:
        _run(page)
    assert complaint in str(caught.value)


def test_block_is_left_out_where_its_program_is_missing(page: Path, tmp_path: Path) -> None:
    _write(page, ("console needs=no-such-program", "$ false"), ("console needs=sh", "$ echo 1\n1"))
    assert run_page(page, tmp_path).left_out == ["page.md:4 needs no-such-program, which is not installed"]


def test_ports_stand_for_free_ones() -> None:
    text = "<!-- ports: 11112 11113 -->\n```text\nAE@host:11112 11113 111123 1.11112\n```\n"
    found = ports(text)
    (block,) = blocks(text, found)
    first, second = found["11112"], found["11113"]
    assert first != second
    assert block.text == f"AE@host:{first} {second} 111123 1.{first}\n"


def test_session_splits_commands() -> None:
    block = Block(1, "console", "$ a\none\n\n$ b \\\n  --c\n")
    assert list(session(block)) == [("a", ["one", ""]), ("b \\\n  --c", [])]


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\nb", "a\nb\n", True),
        ("a\nb", "a  \nb\n\n", True),
        ("a\nb", "a\nb\nc\n", False),
        ("", "", True),
        ("", "a\n", False),
        ("...", "", True),
        ("...", "a\nb\n", True),
        ("a\n...\nd", "a\nb\nc\nd\n", True),
        ("a\n...\nd", "a\nd\n", True),
        ("a\n...\nd", "a\nb\n", False),
        ("took … s", "took 0.3 s\n", True),
        ("took … s", "took 0.3 s\nmore\n", False),
        ("took … s", "took\n0.3 s\n", False),
        ("a+b (c)", "a+b (c)\n", True),
        ("a.c", "abc\n", False),
    ],
)
def test_matches(expected: str, printed: str, same: bool) -> None:
    assert matches(expected.split("\n"), printed) is same
