"""`dcmflow config`: the settings file, shown, checked and edited."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from dcmflow.cli.common import chosen, options, print_json, say
from dcmflow.cli.help import Columns
from dcmflow.errors import ConfigError

if TYPE_CHECKING:
    from dcmflow.config.settings import Settings

app: App = App(
    name="config",
    help="Show, edit and check the settings file: who we are, nodes and directories by name, selectors.",
    help_epilogue="Example:\n  dcmflow config show --resolved",
    help_format="plaintext",
    help_formatter=Columns(),
    version_flags=(),
    result_action="return_value",
)


@app.command(help_epilogue="Example:\n  dcmflow config show --resolved")
def show(
    *,
    resolved: Annotated[bool, Parameter(negative=(), help="Every value, and where it comes from.")] = False,
    format: Annotated[
        str | None,
        Parameter(metavar="FORMAT", help="text or json (default: text on a terminal, json in a pipe)."),
    ] = None,
) -> None:
    """Show the settings as they are in effect."""
    from dcmflow.cli.load import load_settings
    from dcmflow.observe.table import align

    wanted = chosen(format, ("text", "json"), terminal="text")
    settings = load_settings()
    values = [(key, _plain(value), origin) for key, value, origin in settings.resolved()]
    if not resolved:
        tree = _tree(values)
        print_json(tree) if wanted == "json" else print(_toml(tree), end="")
    elif wanted == "json":
        print_json([{"key": key, "value": value, "origin": origin} for key, value, origin in values])
    else:
        rows = [(key, _shown(value), origin) for key, value, origin in values]
        file = (str(settings.file) if settings.file else "none", settings.origins.get("config", "default"))
        print("\n".join(align([("settings file", *file), *rows], text_columns=3)))


@app.command
def path() -> None:
    """Print where the settings file is, or would be."""
    print(_file())


@app.command(help_epilogue="Example:\n  dcmflow config check")
def check(
    file: Annotated[Path | None, Parameter(help="Another settings file than the one in use.")] = None, /
) -> None:
    """Check the settings file, and the certificates that it names; an error is named with its line."""
    from dcmflow.config.settings import Settings

    settings = Settings.load(file or options().config)
    _check_certificates(settings)
    found = (
        f"{len(settings.nodes)} nodes, {len(settings.dirs)} directories, {len(settings.selectors)} selectors"
    )
    if settings.file is None:
        print(f"{_file()}: there is no such file, the defaults are in effect")
    else:
        print(f"{settings.file}: nothing wrong ({found})")


def _check_certificates(settings: Settings) -> None:
    """Load what every `tls` of the settings names. Raises ConfigError with file, table, key and line."""
    if settings.local.tls is None and all(node.tls is None for node in settings.nodes.values()):
        return
    from dcmflow.net.tls import client_context, server_context

    if settings.local.tls is not None:
        with _blaming(settings, "local"):
            server_context(settings.local.tls)
    for name, node in settings.nodes.items():
        if node.tls is not None:
            with _blaming(settings, f"nodes.{name}"):
                client_context(node.tls, node.host)


@contextmanager
def _blaming(settings: Settings, table: str) -> Iterator[None]:
    """Says in an error of TLS where the settings file says so."""
    try:
        yield
    except ConfigError as error:
        keys = (f"{table}.{error.key}", f"{table}.tls")
        origin = next((settings.origins[key] for key in keys if key in settings.origins), "")
        line = origin.rpartition(":")[2]
        raise error.at(
            file=str(settings.file), table=table, line=int(line) if line.isdecimal() else None
        ) from None


@app.command
def edit() -> int:
    """Edit the settings file in $VISUAL or $EDITOR, again while it has errors."""
    from dcmflow.cli.editing import edit_settings

    return edit_settings(_file())


@app.command
def init() -> None:
    """Write a settings file with everything in it commented out, unless there is one."""
    from dcmflow.cli.editing import create

    file = _file()
    create(file)
    say(f"dcmflow: wrote {file}; edit it with: dcmflow config edit")


def _file() -> Path:
    from dcmflow.config.settings import settings_path

    return settings_path(options().config)[0]


def _plain(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)


def _shown(value: Any) -> str:
    from dcmflow.config.toml_text import value as in_toml

    return "none" if value is None else in_toml(value)


def _tree(values: list[tuple[str, Any, str]]) -> dict[str, Any]:
    """Nested tables of dotted keys; what is none is left out. A name may have dots itself, a field never has."""
    tree: dict[str, Any] = {}
    for key, value, _ in values:
        if value is not None:
            table = tree
            *path, last = _parts(key)
            for part in path:
                table = table.setdefault(part, {})
            table[last] = value
    return tree


def _parts(key: str) -> list[str]:
    kind, _, rest = key.partition(".")
    if kind == "local":
        return key.split(".")
    if kind == "selectors":
        return [kind, rest]
    for inner in (".tls.", ".timeouts."):
        name, found, last = rest.rpartition(inner)
        if found:
            return [kind, name, inner.strip("."), last]
    name, _, last = rest.rpartition(".")
    return [kind, name, last]


def _toml(tree: dict[str, Any]) -> str:
    from dcmflow.config.toml_text import table

    blocks = []
    for kind, content in tree.items():
        if kind in ("nodes", "dirs"):
            blocks += [table((kind, name), entry) for name, entry in content.items()]
        else:
            blocks.append(table((kind,), content))
    return "\n".join(blocks)
