"""`dcmflow sync`: brings what is missing from where it is to where it belongs, like rsync."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from dcmflow.cli.asking import Batch, Before, Since, earlier
from dcmflow.cli.common import INTERRUPTED, Usage, chosen, say
from dcmflow.cli.nodes import Calling
from dcmflow.cli.sync_how import How, Method, check_method, edit_of, how_of, method_of, read_plan

if TYPE_CHECKING:
    from dcmflow.cli.sync_places import Spot
    from dcmflow.cli.sync_run import Wishes
    from dcmflow.cli.sync_wanted import Wanted
    from dcmflow.config.settings import Settings
    from dcmflow.sync.plan import Plan


def sync(
    *dest: Annotated[
        str,
        Parameter(
            help="Nodes and folders that are to have it. A new folder is written with a separator: ./out"
        ),
    ],
    source: Annotated[
        list[str] | None,
        Parameter(
            name=("--source", "-s"),
            metavar="SRC",
            negative=(),
            help="A node or folder to take from; may be repeated. Without: the result of a query on stdin.",
        ),
    ] = None,
    query: Annotated[
        list[str] | None,
        Parameter(
            name=("--query", "-q"),
            metavar="KEY=VALUE",
            negative=(),
            help="Only what matches, as in query; may be repeated.",
        ),
    ] = None,
    level: Annotated[
        str | None,
        Parameter(
            metavar="LEVEL",
            help="patient, study, series or image: above that of the keys it means all of each that matches.",
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
            help="What an earlier result of query names (JSON), '-': on stdin; from where that says, or from SRC.",
        ),
    ] = None,
    batch: Batch = None,
    everything: Annotated[
        bool, Parameter(name=("--all",), negative=(), help="All that a node has is meant.")
    ] = False,
    dry_run: Annotated[
        bool,
        Parameter(negative=(), help="Say what would be moved, and move nothing. As JSON it is for --plan."),
    ] = False,
    plan: Annotated[
        Path | None,
        Parameter(metavar="FILE", help="Carry out the plan of a dry run; it names sources and destinations."),
    ] = None,
    force_all: Annotated[
        bool, Parameter(negative=(), help="Move all that is wanted, whatever is there already.")
    ] = False,
    trust_level: Annotated[
        str | None,
        Parameter(
            metavar="LEVEL",
            help="Equal numbers of images at this level, or above, count as the same images (default: image).",
        ),
    ] = None,
    method: Annotated[
        Method | None,
        Parameter(
            help="Nodes: auto (proxy), move (C-MOVE to us), get (C-GET), remote-copy (from node to node). "
            "Folders: copy, link, move-files."
        ),
    ] = None,
    move: Annotated[
        bool,
        Parameter(
            negative=(), help="As --method move-files: remove files once every DEST has accepted them."
        ),
    ] = False,
    edit: Annotated[
        list[str] | None,
        Parameter(metavar="KEY=VALUE", negative=(), help="Set an element on the way; may be repeated."),
    ] = None,
    layout: Annotated[str | None, Parameter(metavar="TEMPLATE", help="Paths in folders, as in sort.")] = None,
    verify: Annotated[
        Literal["count", "uid"] | None,
        Parameter(help="Ask every DEST afterwards whether it has as many, or each."),
    ] = None,
    associations: Annotated[
        int | None,
        Parameter(
            metavar="N", help="Associations with each DEST at once (default: 2, or as the settings say)."
        ),
    ] = None,
    local: Annotated[
        str | None,
        Parameter(
            metavar="AE@HOST:PORT", help="Where C-MOVE sends to: ourselves (default: as the settings say)."
        ),
    ] = None,
    report: Annotated[
        Path | None, Parameter(metavar="FILE", help="Write what became of everything to this file, as JSON.")
    ] = None,
    format: Annotated[
        str | None,
        Parameter(
            metavar="FORMAT",
            help="text or json (default: text; of a dry run json in a pipe).",
        ),
    ] = None,
    calling: Calling = Calling(),  # noqa: B008
) -> int:
    """Bring what is missing from nodes and folders to nodes and folders.

    Every DEST is asked what it has, and gets the rest. One that fails keeps no other from getting its own. Ctrl-C lets what is
    under way finish; run it again for the rest. Exit code 0: all is there; 1: something failed; 3: no source could be asked.
    """
    wanted_format = chosen(format, ("text", "json"), terminal="text", pipe="json" if dry_run else "text")
    if dry_run and report is not None:
        raise Usage("--dry-run moves nothing, so there is no --report")
    settings = _who_we_are(calling.settings(), calling, local)
    how = How(method_of(method, move=move), edit or (), layout)
    made: Plan | None = None
    if plan is not None:
        given = (
            *dest,
            *(source or ()),
            *(query or ()),
            level,
            since,
            before,
            from_,
            batch,
            trust_level,
            layout,
        )
        if any(given) or edit or method or move or everything or force_all or dry_run or verify:
            raise Usage(
                "--plan says what is moved, and how: give it without DEST, and without other options but --report"
            )
        made = read_plan(plan)
        dest, source = made.destinations, list(made.sources)
        how = how_of(made, plan)
    elif not dest:
        raise Usage("sync where to? name nodes or folders; see dcmflow sync --help")
    editing = edit_of(how.edit, force=force_all or made is not None)
    from dcmflow.cli.sync_output import check_report
    from dcmflow.cli.sync_places import check_apart, destinations, sources

    to = destinations(dest, settings, calling, how.layout, associations)
    wanted = (
        None if made is not None else _wanted(source, query, level, since, before, from_, batch, everything)
    )
    src = sources(_named(source, wanted, settings), settings, calling)
    _check_tls([*src, *to], calling)
    check_apart(src, to)
    check_method(how.method, src, to, edited=editing is not None)
    _check_guard(wanted, src, everything=everything, batch=batch is not None)
    if verify is not None and how.method == "move-files":
        raise Usage("--verify looks for what SRC has, and a file that was moved is there no more")
    if report is not None:
        check_report(report)
    from dcmflow.cli.sync_run import Wishes
    from dcmflow.dicom.level import Level

    trust = Level.IMAGE if trust_level is None else Level.parse(trust_level)
    wishes = Wishes(how.method, trust, force_all, editing, verify, associations or 2)
    return _execute(src, to, settings, wanted, wishes, made, how, dry_run, report, wanted_format)


def _execute(
    src: Sequence[Spot],
    to: Sequence[Spot],
    settings: Settings,
    wanted: Wanted | None,
    wishes: Wishes,
    plan: Plan | None,
    how: How,
    dry: bool,
    report: Path | None,
    format: str,
) -> int:
    import anyio
    from msgspec import to_builtins

    from dcmflow.cli.sync_output import lost_code, show_plan, show_report, tell_notes
    from dcmflow.cli.sync_run import Sync

    run = Sync(src, to, settings.local, wanted, wishes, plan=plan, dry=dry, planned=tell_notes)
    anyio.run(run.run)
    if run.plan is not None and dry and not run.signals:
        run.plan.options = to_builtins(how)
        return show_plan(run.plan, format)
    if run.report is None or run.plan is None:
        say("dcmflow: interrupted; nothing was moved")
        return INTERRUPTED
    code = show_report(run.report, run.plan, report, format, interrupted=bool(run.signals))
    if run.signals:
        return INTERRUPTED
    return lost_code(run.plan) if run.plan.lost else code


def _who_we_are(settings: Settings, calling: Calling, local: str | None) -> Settings:
    from msgspec.structs import replace

    from dcmflow.errors import ConfigError
    from dcmflow.net.address import parse_listen
    from dcmflow.net.node import ANY_AE

    if local is None:
        return settings
    try:
        place = parse_listen(local, settings.local)
    except ConfigError as error:
        raise Usage(f"--local: {error}") from None
    if place.ae_title == ANY_AE:
        raise Usage("--local: nodes send to an AE title: write AE@host:port")
    if not place.port:
        raise Usage("--local: port 0 is any free one, which no node could be told: name a port")
    if calling.calling_ae is not None and calling.calling_ae.strip() != place.ae_title:
        raise Usage(
            f"--calling-ae {calling.calling_ae} and --local {local} name two AE titles: give one of them"
        )
    return replace(settings, local=place)


def _wanted(
    source: list[str] | None,
    query: list[str] | None,
    level: str | None,
    since: str | None,
    before: str | None,
    from_: str | None,
    batch: Path | None,
    everything: bool,
) -> Wanted:
    from dcmflow.cli.sync_wanted import Wanted, asked, piped

    asks = bool(query or level or since is not None or before is not None or batch is not None or everything)
    if from_ is not None:
        if asks:
            raise Usage(
                "--from says what is wanted: refine it with dcmflow query --from, and without -q here"
            )
        return Wanted(known=earlier(from_))
    if source:
        return asked(query or (), level, since, before, batch, everything=everything)
    if asks:
        raise Usage("whom to ask? name a source with -s")
    return Wanted(known=piped())


def _named(source: list[str] | None, wanted: Wanted | None, settings: Settings) -> list[str]:
    """The sources as they are written, on the command line or in an earlier result."""
    from dcmflow.cli.sync_wanted import come_from

    if source or wanted is None or wanted.known is None:
        return source or []
    return [come_from(wanted.known, settings)]


def _check_tls(spots: Sequence[Spot], calling: Calling) -> None:
    from dcmflow.net.node import Node

    nodes = [spot.what for spot in spots if isinstance(spot.what, Node)]
    calling.check(any(node.tls is not None for node in nodes), [spot.name for spot in spots if spot.is_node])


def _check_guard(wanted: Wanted | None, src: Sequence[Spot], *, everything: bool, batch: bool) -> None:
    """Raise Usage where a node would be asked for all that it has, and nobody said so."""
    node = next((spot.name for spot in src if spot.is_node), None)
    if wanted is not None and wanted.unlimited and node is not None and not everything and not batch:
        raise Usage(
            f"this asks for everything that {node} has: give -q KEY=VALUE, --since or --before, or say --all"
        )
