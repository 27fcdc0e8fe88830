"""`dcmflow query`: what does a node hold?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter

from dcmflow.cli import common
from dcmflow.cli.asking import Batch, Before, Since, check_from, earlier, rows
from dcmflow.cli.common import INTERRUPTED, Usage, chosen, say
from dcmflow.cli.nodes import Calling
from dcmflow.errors import ConfigError

if TYPE_CHECKING:
    from dcmflow.catalog.catalog import Catalog
    from dcmflow.cli.query_ask import Part
    from dcmflow.cli.query_folder import Folder
    from dcmflow.dicom.level import Level
    from dcmflow.dicom.query import Query
    from dcmflow.net.node import Node


def query(
    node: Annotated[
        str,
        Parameter(help="A node: a name of the settings, AE@host:port, dicoms://AE@host:port. Or a folder."),
    ],
    /,
    *key: Annotated[
        str,
        Parameter(
            help="KEY=VALUE: what must match; KEY alone: what is to be returned. A keyword, a tag, Sequence.Keyword."
        ),
    ],
    level: Annotated[
        str | None,
        Parameter(
            metavar="LEVEL",
            help="patient, study, series or image (default: that of the lowest key, study at least).",
        ),
    ] = None,
    since: Since = None,
    before: Before = None,
    from_: Annotated[
        str | None,
        Parameter(
            name="--from",
            metavar="FILE",
            allow_leading_hyphen=True,
            help="Ask about what is in an earlier result (JSON), '-': on stdin, and nothing else.",
        ),
    ] = None,
    batch: Batch = None,
    limit: Annotated[
        int | None, Parameter(metavar="N", help="Stop after so many, and tell the node so.")
    ] = None,
    fetch_example: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Where the node does not return a key, retrieve one image of each series to see whether it matches (C-GET).",
        ),
    ] = False,
    assume_yes: Annotated[
        bool,
        Parameter(
            name=("--assume-yes", "--all"), negative=(), help="Asking for everything that is there is meant."
        ),
    ] = False,
    format: Annotated[
        str | None,
        Parameter(
            metavar="FORMAT",
            help="tree, json, ndjson (lines as they come) or csv (default: tree on a terminal, json in a pipe).",
        ),
    ] = None,
    calling: Calling = Calling(),  # noqa: B008
) -> int:
    """Ask a node what it holds (C-FIND), or a folder, and show what matches.

    Answers are matched again, since many servers ignore keys. Exit code 0: all answered, be it that nothing was found; 1: a part
    is missing or not as it should be; 3: the node could not be asked.
    """
    from dcmflow.cli.query_output import FORMATS

    wanted = chosen(format, FORMATS, terminal="tree")
    if limit is not None and limit < 1:
        raise Usage("--limit is 1 or more")
    settings = calling.settings()
    from dcmflow.cli.query_folder import Folder, named_folder

    folder = named_folder(node, settings)
    if folder is not None:
        calling.check(False, [node])
        plan = _plan(key, level, since, before, from_, batch, everything=True)
        return _execute(plan, Folder(folder), settings.local.ae_title, wanted, limit, examples=False)
    (peer,) = calling.nodes([node], settings)
    plan = _plan(key, level, since, before, from_, batch, everything=assume_yes)
    for part in plan.parts:
        part.query.identifier(character_set=peer.character_set)  # whether it can be written is known before
    if plan.asks_for_everything and not assume_yes and not _confirmed(plan.level, peer):
        say("dcmflow: nothing was asked")
        return INTERRUPTED
    return _execute(plan, peer, settings.local.ae_title, wanted, limit, examples=fetch_example)


class _Plan(NamedTuple):
    """What is to be asked.

    Attributes:
        level: of the result.
        earlier: the result that is refined.
        lost: how many of its entities nobody can ask about.
    """

    level: Level
    parts: list[Part]
    asks_for_everything: bool
    earlier: Catalog | None = None
    lost: int = 0


def _plan(
    texts: tuple[str, ...],
    level: str | None,
    since: str | None,
    before: str | None,
    from_: str | None,
    batch: Path | None,
    *,
    everything: bool,
) -> _Plan:
    """What the command line means. Raises ConfigError, Usage for what cannot be right."""
    from dcmflow.dicom.level import Level
    from dcmflow.dicom.query import Query

    if from_ is not None and batch is not None:
        raise Usage("--from and --batch both say what to ask: give one of them")
    if from_ is not None:
        check_from(from_)
    given = None if level is None else Level.parse(level)
    query = Query.of(texts, given)
    if since is not None or before is not None:
        query = query.with_keys(days(query, since, before))
    if batch is not None:
        return _of_table(batch, query, given, everything=everything)
    if from_ is not None:
        return _of_result(from_, query, given)
    return _Plan(query.level, [_part(query)], query.unlimited)


def days(query: Query, since: str | None, before: str | None) -> dict[str, str]:
    from datetime import date

    from dcmflow.dicom.dates import date_range

    if "StudyDate" in query.keys:
        option = "--since" if since is not None else "--before"
        raise Usage(f"{option} and StudyDate= both say when: give one of them")
    for option, text in (("--since", since), ("--before", before)):
        if text is not None and not text.strip():
            raise Usage(f"{option} needs a day")
    try:
        return {"StudyDate": date_range(since or "", before or "", date.today())}
    except ConfigError as error:
        raise ConfigError(error.problem, key=f"--{error.key}") from None


def _of_table(batch: Path, query: Query, level: Level | None, *, everything: bool) -> _Plan:
    table = rows(batch, query.keys, level, everything=everything)
    parts = [_part(row.query, label=f"row {row.number} (line {row.line})", about=row.label) for row in table]
    return _Plan(table[0].query.level, parts, asks_for_everything=False)


def _of_result(name: str, query: Query, level: Level | None) -> _Plan:
    from dcmflow.catalog.catalog import Catalog
    from dcmflow.cli.query_refine import entities
    from dcmflow.dicom.level import level_of
    from dcmflow.dicom.query import Query
    from dcmflow.dicom.record import Record

    result = earlier(name)
    if level is None:
        # not Query.level: without keys that is the level of studies
        query = Query(max([result.level, *map(level_of, query.keys)]), query.keys)
    known, abouts, lost = Catalog(query.level), [], 0
    for about in entities(result, query):
        if about is None:
            lost += 1
            continue
        abouts.append(about.keys)
        known.add(Record(about.level, about.values))
    part = _part(query, known=known, abouts=abouts)
    part.about = f"asked about {len(abouts)} of an earlier result"
    return _Plan(query.level, [part], asks_for_everything=False, earlier=result, lost=lost)


def _part(
    query: Query,
    *,
    label: str = "",
    about: str = "",
    known: Catalog | None = None,
    abouts: list[dict[str, str]] | None = None,
) -> Part:
    """A query, asked at the level of the lowest key that restricts it: what is above that cannot be matched otherwise."""
    from dcmflow.catalog.answers import Answers
    from dcmflow.cli.query_ask import Ask, Part, asks_about
    from dcmflow.dicom.level import level_of
    from dcmflow.dicom.query import Query

    asked = Query(max([query.level, *map(level_of, query.conditions)]), query.keys)
    asks = [Ask(asked)] if abouts is None else asks_about(asked, abouts)
    return Part(Answers(asked, known=known), asks, query, label=label, about=about)


def _confirmed(level: Level, node: Node) -> bool:
    """Whether the person at the terminal wants everything. Raises Usage where there is none."""
    try:
        somebody = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    except ValueError:
        somebody = False
    if not somebody:
        raise Usage(
            "this asks for everything that the node has: give a KEY=VALUE, --since or --before, or say --assume-yes"
        )
    from dcmflow.catalog.node import PLURALS

    sys.stderr.write(f"This asks {node} for all the {PLURALS[level]} that it has. Go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _execute(
    plan: _Plan, node: Node | Folder, calling_ae: str, format: str, limit: int | None, *, examples: bool
) -> int:
    import anyio

    from dcmflow.cli.query_output import Lines, write
    from dcmflow.cli.query_report import Report
    from dcmflow.cli.query_run import Inquiry

    lines = Lines() if format == "ndjson" else None
    inquiry = Inquiry(node, calling_ae, plan.level, plan.parts, lines=lines, limit=limit, examples=examples)
    anyio.run(inquiry.run)
    report = Report(inquiry, node, lost=plan.lost, interrupted=inquiry.interrupted)
    try:
        if lines is None and report.something:
            write(report.catalog(plan.earlier), format)
    except BrokenPipeError:
        common.discard(sys.stdout)
    report.tell()
    return report.code
