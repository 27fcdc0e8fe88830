"""`dcmflow send`: files to a node, as a pipeline of one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from dcmflow.cli.common import INTERRUPTED, NOTHING_TRIED, Usage, chosen, notice, options, warn
from dcmflow.cli.failure import printable
from dcmflow.cli.nodes import Calling, why
from dcmflow.cli.sending import RETRIES

if TYPE_CHECKING:
    from dcmflow.cli.paths import Paths
    from dcmflow.net.contexts import Wanted
    from dcmflow.net.node import Node

_PEEK = 64  # files that are looked at to see what to propose to a node at first


def send(
    node: Annotated[
        str, Parameter(help="A node: a name of the settings, AE@host:port, dicoms://AE@host:port.")
    ],
    /,
    *path: Annotated[
        str,
        Parameter(help="Files, folders, .zip or .tar archives, DICOMDIRs, or directories of the settings."),
    ],
    associations: Annotated[
        int | None,
        Parameter(metavar="N", help="Associations at once (default: 2, or fewer where the settings say so)."),
    ] = None,
    retries: Annotated[
        int, Parameter(metavar="N", help="How often to try again what may work later.")
    ] = RETRIES,
    include: Annotated[
        list[str] | None,
        Parameter(metavar="GLOB", negative=(), help="In folders, only files that match; may be repeated."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        Parameter(metavar="GLOB", negative=(), help="In folders, not what matches; may be repeated."),
    ] = None,
    verify: Annotated[
        bool, Parameter(negative=(), help="Ask the node afterwards whether it finds what it took (C-FIND).")
    ] = False,
    dry_run: Annotated[
        bool, Parameter(negative=(), help="Say what would be sent, and do not call the node.")
    ] = False,
    report: Annotated[
        Path | None, Parameter(metavar="FILE", help="Write what became of everything to this file, as JSON.")
    ] = None,
    format: Annotated[
        str | None,
        Parameter(
            metavar="FORMAT", help="text: a summary; json: the report, of a dry run one object per line."
        ),
    ] = None,
    calling: Calling = Calling(),  # noqa: B008
) -> int:
    """Send DICOM files to a node (C-STORE), each as it is encoded.

    Files are known by their content. In folders, what is no DICOM is passed over; what is broken is refused and named, and
    everything else goes on. Ctrl-C lets what is under way finish.
    """
    from dcmflow.cli.execute import end_quietly, execute
    from dcmflow.cli.paths import named_paths
    from dcmflow.cli.send_verify import Sent
    from dcmflow.cli.send_verify import verify as verified
    from dcmflow.cli.sending import label, store
    from dcmflow.filters.call import Call
    from dcmflow.flow.pipeline import Pipeline
    from dcmflow.observe.report import ReportFile

    wanted = chosen(format, ("text", "json"), terminal="text", pipe="text")
    if not path:
        raise Usage("send what? name files or folders after the node; see dcmflow send --help")
    if dry_run and report is not None:
        raise Usage("--dry-run sends nothing, so there is no --report")
    end_quietly()
    settings = calling.settings()
    (peer,) = calling.nodes([node], settings)
    name = label(node if node in settings.nodes else peer.ae_title, ["source"])
    sink, peer = store(name, peer, associations, retries)
    source = named_paths(path, settings, include, exclude)
    if dry_run:
        from dcmflow.cli.send_preview import preview

        return preview(source, peer, format=wanted)
    sent = Sent()
    flow = source | Call(sent.note, name="noted") | sink if verify else source | sink
    pipeline = Pipeline(flow, name="send", nodes={name: peer}, local=settings.local)
    pipeline.check()
    if report is not None:
        ReportFile(report)  # whether it can be written is known before anybody is called
    if not _reachable(peer, settings.local.ae_title, retries, _first_of(source)):
        return NOTHING_TRIED
    code = execute(pipeline, report=report, format=wanted, observe=[sent.observe] if verify else ())
    if not verify or code == INTERRUPTED:
        return code
    return verified(peer, settings.local.ae_title, sent) or code


def _first_of(source: Paths) -> list[Wanted]:
    """What the first files hold. Raises ConfigError for a path that cannot be opened."""
    place = source.place("source")
    try:
        items = place.take(_PEEK, 64 * 1024 * 1024) or []
        for item in items:
            if item.temporary is not None:
                place.drop(item.temporary)
        found = [item.instance for item in items if item.instance is not None]
        return [(instance.sop_class_uid, instance.transfer_syntax_uid) for instance in found]
    finally:
        place.close()


def _reachable(node: Node, calling_ae: str, retries: int, first: list[Wanted]) -> bool:
    """Whether an association with the node comes about; says why not."""
    import anyio

    from dcmflow.errors import DcmflowError

    try:
        anyio.run(_call, node, calling_ae, retries, first)
    except DcmflowError as error:
        notice("error", printable(why(error), lines=False))
        return False
    return True


async def _call(node: Node, calling_ae: str, retries: int, first: list[Wanted]) -> None:
    from dcmflow.cli.sending import retry
    from dcmflow.dicom.uids import IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
    from dcmflow.flow.policy import attempt
    from dcmflow.net.connect import associate
    from dcmflow.net.contexts import propose

    contexts = propose([(VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN), *first])

    async def call() -> None:
        async with associate(node, contexts, calling_ae=calling_ae):
            pass

    def again(error: Exception, attempts: int) -> None:
        if options().verbose or (sys.stderr.isatty() and not options().quiet):
            warn(f"{printable(why(error), lines=False)}; trying again ({attempts} of {retries})")

    await attempt(retry(retries), call, again)
