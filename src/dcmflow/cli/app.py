"""The command `dcmflow`: finds the command that is meant, runs it, says in one line what went wrong.

    exit code   0    all done
                1    at least one item failed
                2    what was written cannot be right, found before anything moved
                3    nothing could be tried
                130  interrupted

A command is a function in a module of its own, which is imported when the command is called: `--help` and `--version` load
next to nothing. A command returns its exit code, or None for 0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dcmflow import __version__
from dcmflow.cli import common
from dcmflow.cli.common import DONE, INTERRUPTED, WRONG, Usage

if TYPE_CHECKING:
    from cyclopts import App


class Command(NamedTuple):
    """One row of the table of commands."""

    target: str
    summary: str
    example: str


COMMANDS = {
    "run": Command(
        "dcmflow.cli.run:run",
        "Run a pipeline file until its sources end or a signal comes.",
        "dcmflow run radiology.toml --report run.json",
    ),
    "check": Command(
        "dcmflow.cli.check:check",
        "Check a pipeline file, and say what its acknowledgements mean.",
        "dcmflow check radiology.toml",
    ),
    "show": Command(
        "dcmflow.cli.show:show",
        "Draw a pipeline file.",
        "dcmflow show radiology.toml --format mermaid",
    ),
    "stages": Command(
        "dcmflow.cli.stages:stages",
        "List the stages there are, or describe one.",
        "dcmflow stages where",
    ),
    "echo": Command(
        "dcmflow.cli.echo:echo",
        "Ask nodes whether they are there (C-ECHO).",
        "dcmflow echo MYPACS@10.0.0.5:104",
    ),
    "query": Command(
        "dcmflow.cli.query:query",
        "Ask a node what it holds (C-FIND).",
        "dcmflow query mypacs PatientName='Doe*' --since 14d",
    ),
    "sync": Command(
        "dcmflow.cli.sync:sync",
        "Bring what is missing from nodes and folders to others, like rsync.",
        "dcmflow sync ./research/ -s mypacs -q PatientID=4711 --dry-run",
    ),
    "send": Command(
        "dcmflow.cli.send:send",
        "Send DICOM files to a node (C-STORE).",
        "dcmflow send MYPACS@10.0.0.5:104 ./study --report sent.json",
    ),
    "forward": Command(
        "dcmflow.cli.forward:forward",
        "Receive instances and hand them on to nodes and folders.",
        "dcmflow forward mypacs ./received --listen GATE@0.0.0.0:11112",
    ),
    "sort": Command(
        "dcmflow.cli.sort:sort",
        "Sort DICOM files into folders.",
        "dcmflow sort /inbox ./sorted --layout '{PatientID}/{SOPInstanceUID}.dcm'",
    ),
    "dump": Command(
        "dcmflow.cli.dump:dump",
        "Show what is in DICOM files.",
        "dcmflow dump image.dcm",
    ),
    "diff": Command(
        "dcmflow.cli.diff:diff",
        "Compare two DICOM files or folders.",
        "dcmflow diff before.dcm after.dcm",
    ),
    "index": Command(
        "dcmflow.cli.index:index",
        "Build or refresh the index of a folder.",
        "dcmflow index /archive --mode check",
    ),
    "config": Command(
        "dcmflow.cli.config:app",
        "Show, edit and check the settings file.",
        "dcmflow config show --resolved",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: arguments without the name of the program; None: those of the process.
    """
    _prepare_streams()
    debug = "--debug" in (sys.argv if argv is None else argv)
    code = DONE
    try:
        arguments, words = common.split(sys.argv[1:] if argv is None else argv, COMMANDS)
        debug = arguments.debug
        code = _dispatch(arguments, words)
        sys.stdout.flush()
    except BrokenPipeError:
        common.discard(sys.stdout)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else DONE if end.code is None else WRONG
    except Exception as error:
        from dcmflow.cli.failure import complain

        code = complain(error, debug=debug)
    finally:
        common.close()
        common.flush_streams()
    return code


def _dispatch(arguments: common.Common, words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        return _without_command(words)
    if words[0] == "help":
        words = [*words[1:], "--help"]
        if len(words) == 1:
            return _without_command(words)
    name = words[0]
    if name not in COMMANDS:
        from difflib import get_close_matches

        close = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the commands are {', '.join(COMMANDS)}"
        raise Usage(f"there is no command {name!r}; {hint}")
    if len(words) == 1 and COMMANDS[name].target.endswith(":app"):
        raise Usage(f"{name} what? see dcmflow {name} --help")
    common.use(arguments.checked())
    result = application()(words)
    return result if isinstance(result, int) else DONE


def _without_command(words: list[str]) -> int:
    if not words:
        print(front_page(), end="", file=sys.stderr)
        return WRONG
    if words[0] in ("-h", "--help"):
        print(front_page(), end="")
    elif words[0] in ("-V", "--version"):
        print(f"dcmflow {__version__}")
    elif words[0] == "--":
        raise Usage("a command stands before '--'; see dcmflow --help")
    else:
        raise Usage(f"there is no option {words[0]} before a command; see dcmflow --help")
    return DONE


def front_page() -> str:
    """What `dcmflow --help` prints."""
    from dcmflow.cli.help import columns

    return "\n".join(
        [
            "Usage: dcmflow COMMAND [OPTIONS]",
            "",
            "Moves DICOM from where it is to where it belongs, and can say of each object what became of it.",
            "",
            "Commands:",
            *columns([(name, command.summary) for name, command in COMMANDS.items()]),
            "",
            common.HELP.rstrip(),
            "",
            "  dcmflow COMMAND --help    about one command",
            "  dcmflow --version         the version",
            "",
            "Example:",
            f"  {COMMANDS['run'].example}",
            "",
        ]
    )


def application() -> App:
    """The commands as a cyclopts app; each is imported when it is called."""
    from cyclopts import App

    from dcmflow.cli.help import Columns

    app = App(
        name="dcmflow",
        version_flags=(),
        help_format="plaintext",
        help_formatter=Columns(),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
    )
    for name, command in COMMANDS.items():
        if command.target.endswith(":app"):
            app.command(command.target, name=name)
        else:
            app.command(
                command.target, name=name, help=command.summary, help_epilogue=epilogue(command.example, name)
            )
    return app


def epilogue(example: str, name: str = "") -> str:
    """The end of a help page of a command."""
    return f"{common.help_of(name)}\nExample:\n  {example}"


def _prepare_streams() -> None:
    """Streams that are closed go nowhere; what cannot be encoded is escaped instead of raised."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            import os

            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
