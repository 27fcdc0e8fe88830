"""dcmflow moves DICOM from where it is to where it belongs, and can say of each object what became of it.

The public names, each imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcmflow._lazy import lazy_names

__version__ = "0.1.0"

_HOMES = {
    "Instance": "dcmflow.dicom.instance",
    "Origin": "dcmflow.dicom.instance",
    "Layout": "dcmflow.dicom.layout",
    "Level": "dcmflow.dicom.level",
    "Query": "dcmflow.dicom.query",
    "Record": "dcmflow.dicom.record",
    "Selector": "dcmflow.dicom.selector",
    "Status": "dcmflow.status",
    "Limits": "dcmflow.flow.capacity",
    "Receipt": "dcmflow.flow.delivery",
    "Pipeline": "dcmflow.flow.pipeline",
    "Retry": "dcmflow.flow.policy",
    "Running": "dcmflow.flow.running",
    "Client": "dcmflow.net.client",
    **dict.fromkeys(("Local", "Node", "Timeouts", "Tls"), "dcmflow.net.node"),
    **dict.fromkeys(("Filter", "Router", "Sink", "Source", "Stage"), "dcmflow.flow.stage"),
    **dict.fromkeys(
        (
            "AssociationAborted",
            "AssociationRejected",
            "ConfigError",
            "ConnectError",
            "DatasetError",
            "DcmflowError",
            "GraphError",
            "LocalProtocolError",
            "NetworkError",
            "NetworkTimeout",
            "NoAcceptedContext",
            "NotDicom",
            "PipelineError",
            "ProtocolError",
            "Refused",
            "RemoteProtocolError",
            "RequestFailed",
            "StageError",
        ),
        "dcmflow.errors",
    ),
    "filters": "dcmflow.filters",
    "routers": "dcmflow.routers",
    "sinks": "dcmflow.sinks",
    "sources": "dcmflow.sources",
}

if TYPE_CHECKING:
    from dcmflow import filters as filters
    from dcmflow import routers as routers
    from dcmflow import sinks as sinks
    from dcmflow import sources as sources
    from dcmflow.dicom.instance import Instance as Instance
    from dcmflow.dicom.instance import Origin as Origin
    from dcmflow.dicom.layout import Layout as Layout
    from dcmflow.dicom.level import Level as Level
    from dcmflow.dicom.query import Query as Query
    from dcmflow.dicom.record import Record as Record
    from dcmflow.dicom.selector import Selector as Selector
    from dcmflow.errors import AssociationAborted as AssociationAborted
    from dcmflow.errors import AssociationRejected as AssociationRejected
    from dcmflow.errors import ConfigError as ConfigError
    from dcmflow.errors import ConnectError as ConnectError
    from dcmflow.errors import DatasetError as DatasetError
    from dcmflow.errors import DcmflowError as DcmflowError
    from dcmflow.errors import GraphError as GraphError
    from dcmflow.errors import LocalProtocolError as LocalProtocolError
    from dcmflow.errors import NetworkError as NetworkError
    from dcmflow.errors import NetworkTimeout as NetworkTimeout
    from dcmflow.errors import NoAcceptedContext as NoAcceptedContext
    from dcmflow.errors import NotDicom as NotDicom
    from dcmflow.errors import PipelineError as PipelineError
    from dcmflow.errors import ProtocolError as ProtocolError
    from dcmflow.errors import Refused as Refused
    from dcmflow.errors import RemoteProtocolError as RemoteProtocolError
    from dcmflow.errors import RequestFailed as RequestFailed
    from dcmflow.errors import StageError as StageError
    from dcmflow.flow.capacity import Limits as Limits
    from dcmflow.flow.delivery import Receipt as Receipt
    from dcmflow.flow.pipeline import Pipeline as Pipeline
    from dcmflow.flow.policy import Retry as Retry
    from dcmflow.flow.running import Running as Running
    from dcmflow.flow.stage import Filter as Filter
    from dcmflow.flow.stage import Router as Router
    from dcmflow.flow.stage import Sink as Sink
    from dcmflow.flow.stage import Source as Source
    from dcmflow.flow.stage import Stage as Stage
    from dcmflow.net.client import Client as Client
    from dcmflow.net.node import Local as Local
    from dcmflow.net.node import Node as Node
    from dcmflow.net.node import Timeouts as Timeouts
    from dcmflow.net.node import Tls as Tls
    from dcmflow.status import Status as Status
else:
    __getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
