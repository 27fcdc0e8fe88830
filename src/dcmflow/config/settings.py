"""The user's settings: who we are, the nodes and directories we know, named selectors. One TOML file.

Where a value comes from, the first that says something wins: an option of the command line, the environment
(`DCMFLOW_AE_TITLE`, `DCMFLOW_PORT`, `DCMFLOW_HOST`), the file, the default. A missing file is an empty one, unless it was asked
for by name; nothing is ever written unasked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from dcmflow.config.convert import convert
from dcmflow.config.document import Document
from dcmflow.config.names import absolute_tls, check_tables, read_folders, read_nodes, read_selectors
from dcmflow.config.places import Folder
from dcmflow.errors import ConfigError
from dcmflow.net.node import Local as Local
from dcmflow.net.node import Node

CONFIG_VARIABLE = "DCMFLOW_CONFIG"
_TABLES = ("local", "nodes", "dirs", "selectors")
_OF_ENVIRONMENT = {"DCMFLOW_AE_TITLE": "ae-title", "DCMFLOW_PORT": "port", "DCMFLOW_HOST": "host"}


class Settings(Struct, frozen=True, kw_only=True):
    """What the user's settings file says, completed from the environment and the command line.

    Attributes:
        local: who we are.
        nodes, dirs, selectors: what is known by name.
        file: the file they were read from; None where there is none.
        origins: by dotted key (`local.port`, `nodes.mypacs.host`) where its value comes from, in words; what is not
            listed is a default. `config` says where the file itself comes from.
    """

    local: Local = Local()
    nodes: dict[str, Node] = field(default_factory=dict)
    dirs: dict[str, Folder] = field(default_factory=dict)
    selectors: dict[str, str] = field(default_factory=dict)
    file: Path | None = None
    origins: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        options: Mapping[str, object] | None = None,
    ) -> Settings:
        """Read the settings file.

        Args:
            path: the file (`--config`); None: that of `DCMFLOW_CONFIG`, else the one in the platform's config folder.
            environ: the environment.
            options: values of the command line by dotted key, such as `{"local.ae-title": "ME"}`; None values do not count.

        Raises:
            ConfigError: with file, table, key and line; also for a file that was named and is missing.
        """
        file, origin = settings_path(path, environ=environ)
        if origin == "default" and not _exists(file):
            return cls.loads(
                "", environ=environ, options=options, config_origin="default; there is no such file"
            )
        return cls._of(Document.read(file, "settings file"), file, environ, options or {}, origin)

    @classmethod
    def loads(
        cls,
        text: str,
        *,
        file: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
        options: Mapping[str, object] | None = None,
        config_origin: str = "text",
    ) -> Settings:
        """Settings from the text of a settings file; `file` is where it is said to be from."""
        document = Document(text, os.fspath(file) if file is not None else None)
        return cls._of(
            document, Path(file) if file is not None else None, environ or {}, options or {}, config_origin
        )

    @classmethod
    def _of(
        cls,
        document: Document,
        file: Path | None,
        environ: Mapping[str, str],
        options: Mapping[str, object],
        config_origin: str,
    ) -> Settings:
        data = document.data
        check_tables(document, _TABLES)
        base = file.absolute().parent if file is not None else None
        origins = {"config": config_origin}
        for path, line in document.lines.items():
            if path and not isinstance(_at(data, path), dict):
                origins[".".join(path)] = f"{document.file or 'text'}:{line}"
        local = convert(data.get("local", {}), Local, document, ("local",))
        if local.tls is not None:
            local = replace(local, tls=absolute_tls(local.tls, base))
        settings = cls(
            local=local,
            nodes=read_nodes(document, base),
            dirs=read_folders(document, base),
            selectors=read_selectors(document),
            file=file,
            origins=origins,
        )
        _check_names(document)
        for variable, key in _OF_ENVIRONMENT.items():
            if variable in environ:
                settings = settings._with(key, environ[variable], f"environment variable {variable}")
        for name, value in options.items():
            if value is not None:
                table, _, key = name.partition(".")
                if table != "local" or not key:
                    raise ConfigError(f"there is no setting {name!r} that an option could set")
                settings = settings._with(key, value, "command line")
        return settings

    def _with(self, key: str, value: object, origin: str) -> Settings:
        """The settings with one value of `[local]` from elsewhere. Raises ConfigError naming that place."""
        fields: dict[str, Any] = {**to_builtins(self.local), key: value}
        try:
            local = convert(fields, Local, Document(""), ("local",), lax=True)
        except ConfigError as error:
            raise ConfigError(f"{origin}: {error.problem}", key=f"local.{key}") from None
        return replace(self, local=local, origins={**self.origins, f"local.{key}": origin})

    def resolved(self) -> list[tuple[str, Any, str]]:
        """Every value as (dotted key, value, where it comes from), for `config show --resolved`."""
        found: list[tuple[str, Any, str]] = []
        _flatten("local", self.local, found, self.origins)
        for kind, entries in (("nodes", self.nodes), ("dirs", self.dirs)):
            for name, entry in entries.items():
                _flatten(f"{kind}.{name}", entry, found, self.origins)
        for name, text in self.selectors.items():
            key = f"selectors.{name}"
            found.append((key, text, self.origins.get(key, "default")))
        return found


def settings_path(
    path: str | os.PathLike[str] | None = None, *, environ: Mapping[str, str] = os.environ
) -> tuple[Path, str]:
    """Where the settings file is, there or not, and what says so: `--config`, the environment variable, or the default."""
    if path is not None:
        return Path(path).expanduser(), "--config"
    if environ.get(CONFIG_VARIABLE):
        return Path(environ[CONFIG_VARIABLE]).expanduser(), f"environment variable {CONFIG_VARIABLE}"
    import platformdirs

    return platformdirs.user_config_path("dcmflow", appauthor=False) / "config.toml", "default"


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # a folder that may not be entered holds no settings of ours
        return False


def _at(data: Any, path: Iterable[str]) -> Any:
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    return data


def _flatten(key: str, struct: Struct, found: list[tuple[str, Any, str]], origins: Mapping[str, str]) -> None:
    for python_name, name in zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True):
        value = getattr(struct, python_name)
        if isinstance(value, Struct):
            _flatten(f"{key}.{name}", value, found, origins)
        else:
            own = f"{key}.{name}"
            from_address = f"{key}.address" if name in ("host", "port", "ae-title") else own
            found.append((own, value, origins.get(own) or origins.get(from_address, "default")))


def _check_names(document: Document) -> None:
    """Names are one space: what is given as NAME on the command line has to mean one thing."""
    taken: dict[str, str] = {}
    for kind in ("nodes", "dirs", "selectors"):
        for name in document.data.get(kind, {}):
            if name in taken:
                line = document.line((taken[name], name))
                raise document.error(
                    f"the name {name!r} is taken: {taken[name]}.{name} is on line {line}", (kind, name)
                )
            taken[name] = kind
