"""What is different on a terminal: the live table, formats, colour, the editor."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]
Open = Callable[..., Any]


def test_live_table(terminal: Open, pipeline: Write) -> None:
    running = terminal("run", pipeline("slow", instances=100_000))
    running.until("of 100000 settled")
    said = running.until("remaining")
    assert "instances/s" in said
    assert "made   source synthetic" in said
    running.process.send_signal(signal.SIGINT)
    code, said = running.end()
    assert code == 130
    assert "draining" in said
    assert "emitted" in said.splitlines()[-2]


def test_ctrl_c_twice(terminal: Open, pipeline: Write) -> None:
    running = terminal("run", pipeline("stuck"), "-v")
    running.until("pipeline-started")
    running.write("\x03")
    running.until("once more to cancel")
    running.write("\x03")
    code, said = running.end()
    assert code == 130
    assert "emitted 10 = accepted 0 + dropped 0 + refused 10" in said


def test_refusals_are_counted_in_the_table_and_listed_at_the_end(terminal: Open, pipeline: Write) -> None:
    code, said = terminal("run", pipeline("refuse_every_third", instances=40)).end()
    assert code == 1
    assert "instance-refused" not in said
    assert said.count("refused: ") == 10
    assert "and 3 more, see --report" in said


def test_no_progress(terminal: Open, pipeline: Write) -> None:
    code, said = terminal("run", pipeline("slow", instances=30), "--no-progress").end()
    assert code == 0
    assert "settled" not in said
    assert "pipeline-finished" in said


def test_progress_is_on_stderr_only(terminal: Open, pipeline: Write) -> None:
    reading, writing = os.pipe()
    running = terminal("run", pipeline("slow", instances=30), stdout=writing)
    os.close(writing)
    with open(reading, encoding="utf-8") as out:
        code, said = running.end()
        data = out.read()
    assert code == 0
    assert "settled" in said
    assert "emitted 30 = accepted 30" not in said
    assert "\x1b" not in data
    assert "emitted 30 = accepted 30" in data


@pytest.mark.parametrize("colours", [True, False])
def test_colour_only_where_it_is_welcome(terminal: Open, pipeline: Write, colours: bool) -> None:
    more = {} if colours else {"NO_COLOR": "1"}
    running = terminal("run", pipeline("refuse_every_third"), "--no-progress", **more)
    running.end()
    assert ("\x1b[33mwarning\x1b[0m" in running.said) == colours
    assert ("\x1b" in running.said) == colours


def test_trees_and_tables_for_people(terminal: Open, pipeline: Write) -> None:
    assert "└── " in terminal("show", pipeline()).end()[1]
    assert terminal("config", "show").end()[1].startswith("[local]\n")


def _editor(work: Path, *texts: str) -> str:
    """An editor that writes these texts, one each time it is called."""
    for number, text in enumerate(texts):
        (work / f"text-{number}").write_text(text)
    script = work / "editor.sh"
    script.write_text(
        f'cd "{work}"\nnumber=$(ls calls-* 2>/dev/null | wc -l)\ntouch "calls-$number"\n'
        'cat "text-$number" > "$1"\n'
    )
    return f"sh '{script}'"


def test_edit_again_until_it_is_right(terminal: Open, work: Path) -> None:
    file = work / "settings.toml"
    file.write_text("# before\n")
    editor = _editor(work, "[local]\nprot = 1\n", "[local]\nport = = 1\n", "[local]\nport = 104\n")
    editing = terminal("--config", file, "config", "edit", VISUAL=editor, EDITOR="false")
    editing.until(f"{file}:2 [local] prot")
    editing.until("again? [Y/n]")
    assert file.read_text() == "# before\n"
    editing.write("\n")
    editing.until(f"{file}:2:8")
    editing.write("y\n")
    code, said = editing.end()
    assert code == 0
    assert f"wrote {file}" in said
    assert file.read_text() == "[local]\nport = 104\n"
    assert not list(work.glob(".settings*"))


def test_edit_given_up(terminal: Open, work: Path) -> None:
    file = work / "settings.toml"
    file.write_text("# before\n")
    editing = terminal("--config", file, "config", "edit", EDITOR=_editor(work, "nonsense"))
    editing.until("again? [Y/n]")
    editing.write("n\n")
    assert editing.end()[0] == 2
    assert file.read_text() == "# before\n"
    assert not list(work.glob(".settings*"))


def test_edit_makes_the_file(terminal: Open, work: Path, home: Path) -> None:
    unchanged = terminal("config", "edit", EDITOR="true")
    assert unchanged.end()[0] == 0
    assert not (home / ".config" / "dcmflow" / "config.toml").exists()
    assert terminal("config", "edit", EDITOR=_editor(work, "[local]\nport = 104\n")).end()[0] == 0
    assert (home / ".config" / "dcmflow" / "config.toml").read_text() == "[local]\nport = 104\n"


@pytest.mark.parametrize(
    ("editor", "said"), [("no-such-editor-here", "cannot be started"), ("false", "ended with 1")]
)
def test_editor_that_fails(terminal: Open, work: Path, editor: str, said: str) -> None:
    file = work / "settings.toml"
    file.write_text("# before\n")
    code, text = terminal("--config", file, "config", "edit", EDITOR=editor).end()
    assert code == 2
    assert said in text
    assert file.read_text() == "# before\n"


def test_stdin_of_a_terminal_is_left_alone(terminal: Open, pipeline: Write) -> None:
    assert terminal("run", pipeline(), "-q").end()[0] == 0


def test_dumb_terminal(terminal: Open, pipeline: Write) -> None:
    running = terminal("run", pipeline("slow", instances=30), TERM="dumb")
    running.end()
    assert "\x1b" not in running.said
    assert "settled" not in running.said


def test_closed_reader_on_a_terminal(terminal: Open) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code, said = terminal("stages", stdout=writing).end()
    os.close(writing)
    assert (code, said) == (0, "")
