"""What a program asks other nodes for: SCU operations, over associations that are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, final

import anyio
from anyio.abc import TaskGroup, TaskStatus

from dcmflow.dicom.query import Query
from dcmflow.net.address import parse_node
from dcmflow.net.association import Association
from dcmflow.net.async_block import AsyncBlock
from dcmflow.net.find import finding
from dcmflow.net.found import Found
from dcmflow.net.node import Node, ae_title
from dcmflow.net.pool import TICK, Pool
from dcmflow.net.retrieval import MoveReport
from dcmflow.net.retrieving import Got, getting, moving
from dcmflow.protocol.items import ProposedContext
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.dicom.instance import Instance


@final
class Client(AsyncBlock):
    """`async with Client("DCMFLOW") as client: await client.echo("PACS@10.0.0.5:104")`.

    Each node is called on up to its `max_associations`, which stay open between operations. Any number of tasks may use a client at
    once. Leaving the block releases all associations; cancelled, it aborts them. It may be used in one block after the other.

    A node is a `Node`, an address, or one of `nodes` by name; anything else raises ConfigError.

    Args:
        calling_ae: our AE title.
        nodes: nodes by name.

    Raises:
        ConfigError: no AE title.
    """

    def __init__(self, calling_ae: str = "DCMFLOW", *, nodes: Mapping[str, Node] | None = None) -> None:
        self.calling_ae: str = ae_title(calling_ae)
        self.nodes: Mapping[str, Node] = nodes or {}
        self._pools: dict[Node | str, Pool] = {}
        self._making = anyio.Lock()
        self._leaving = anyio.Event()
        self._tasks: TaskGroup | None = None

    async def echo(self, node: Node | str) -> Status:
        """C-ECHO (PS3.7 9.1.5): does it answer?

        Raises:
            NetworkError: it does not; the text says why.
            RemoteProtocolError: what answers breaks the protocol.
        """
        return await (await self._pool(node)).echo()

    async def store(self, node: Node | str, instance: Instance) -> Status:
        """C-STORE (PS3.7 9.1.1): send an instance as it is encoded; the status is what the peer says to it.

        Raises:
            NoAcceptedContext: it does not take this SOP Class in this transfer syntax.
            NetworkError: there was no answer. Whether it has the instance is not known when an association ended meanwhile.
            RemoteProtocolError: what answers breaks the protocol.
            DatasetError: the instance cannot be read.
        """
        return (await (await self._pool(node)).store(instance)).status

    @asynccontextmanager
    async def find(
        self, node: Node | str, query: Query | Mapping[str, Any], *, verify: bool = True
    ) -> AsyncIterator[Found]:
        """C-FIND (PS3.4 C.4.1): what a node holds; leaving the block calls off what is still under way.

        ::

            async with client.find("PACS@10.0.0.5:104", {"PatientName": "Doe*"}) as records:
                async for record in records:
                    print(record.text("PatientName"), record.text("StudyDate"))

        Each record has what the node returned for it and for what it belongs to. Servers ignore keys, so each is matched
        once more on our side; what does not match, or cannot be told since the server does not return the key, is left out
        and counted: `records.warnings()` says so.

        Args:
            query: a `Query`, or keys and values; the level is then that of the lowest key, studies at least.
            verify: False: leave the matching to whoever reads, see `dcmflow.catalog.answers.Answers`.

        Raises:
            ConfigError: a key or value that cannot be; see `Query.of`.
            RequestFailed: the node answered with a failure.  These come when the records are read,
            NetworkError, RemoteProtocolError: there was no answer.  after those that came before.
        """
        asked = query if isinstance(query, Query) else Query.of(query)
        async with finding(await self._pool(node), asked, verify=verify) as found:
            yield found

    @asynccontextmanager
    async def get(self, node: Node | str, query: Query | Mapping[str, Any]) -> AsyncIterator[Got]:
        """C-GET (PS3.4 C.4.3): instances that match, on an association of ours; leaving the block calls off the rest.

        An instance is answered with Success when the next one is asked for. Nobody but the reader holds it: what he does not
        keep is gone.

        Args:
            query: as for `find`; what matches at its level is retrieved whole.

        Raises:
            ConfigError, RequestFailed, NetworkError, RemoteProtocolError: as `find`.
        """
        asked = query if isinstance(query, Query) else Query.of(query)
        async with getting(await self._pool(node), asked) as got:
            yield got

    async def move(self, node: Node | str, query: Query | Mapping[str, Any], *, to: str) -> MoveReport:
        """C-MOVE (PS3.4 C.4.2): have a node send what matches to somebody whom it knows.

        Cancelled, it calls the operation off (C-CANCEL).

        Args:
            query: as for `find`; what matches at its level is moved whole.
            to: the AE title of the destination.

        Raises:
            ConfigError, RequestFailed, NetworkError, RemoteProtocolError: as `find`.
        """
        asked = query if isinstance(query, Query) else Query.of(query)
        return await moving(await self._pool(node), asked, to=ae_title(to))

    @asynccontextmanager
    async def associate(
        self, node: Node | str, contexts: Sequence[ProposedContext]
    ) -> AsyncIterator[Association]:
        """An association of one's own; leaving the block releases it, an exception aborts it.

        It is one of the `max_associations` of the node: when all are in such blocks, whoever wants one more gets
        NetworkTimeout after the `connect` timeout.

        Args:
            contexts: what is proposed; see `dcmflow.net.contexts.propose`.

        Raises:
            NetworkError, RemoteProtocolError: it did not come about.
        """
        pool = await self._pool(node)
        async with pool.associate(contexts) as association:
            yield association

    async def _pool(self, node: Node | str) -> Pool:
        pool = self._pools.get(node)
        if pool is None:
            meant = node if isinstance(node, Node) else parse_node(node, self.nodes)
            async with self._making:
                pool = self._pools.get(meant)
                if pool is None:
                    if self._tasks is None:
                        raise RuntimeError("a client is used in its block: async with Client() as client")
                    pool = self._pools[meant] = await self._tasks.start(self._keep, meant)
            self._pools[node] = pool
        return pool

    async def _keep(self, node: Node, *, task_status: TaskStatus[Pool]) -> None:
        longest = max(TICK, float(node.timeouts.idle))
        async with Pool(node, calling_ae=self.calling_ae) as pool:
            task_status.started(pool)
            while pool.unused < longest:
                with anyio.move_on_after(longest):
                    await self._leaving.wait()
                    return
            for key in [key for key, kept in self._pools.items() if kept is pool]:
                del self._pools[key]

    @asynccontextmanager
    async def _live(self) -> AsyncIterator[None]:
        if self._tasks is not None:
            raise RuntimeError(
                "the client is in use in another block: make one for each block, or share the one block"
            )
        self._pools, self._leaving = {}, anyio.Event()
        try:
            async with anyio.create_task_group() as self._tasks:
                yield
                self._leaving.set()
        finally:
            self._tasks = None
