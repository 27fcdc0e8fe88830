"""How help pages look: two columns, no frames, the same on a terminal and in a pipe."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

_WIDEST_NAME = 28
_WIDEST_PAGE = 110


def columns(rows: list[tuple[str, str]]) -> list[str]:
    """Lines of two columns, the second one wrapped to the terminal."""
    left = max((len(name) for name, _ in rows if len(name) <= _WIDEST_NAME), default=8)
    room = max(30, min(shutil.get_terminal_size().columns, _WIDEST_PAGE) - left - 4)
    lines = []
    for name, text in rows:
        first = name
        if len(name) > left:
            lines.append(f"  {name}")
            first = ""
        for part in textwrap.wrap(text, room, break_on_hyphens=False) or [""]:
            lines.append(f"  {first:<{left}}  {part}".rstrip())
            first = ""
    return lines


class Columns:
    """A help formatter of cyclopts."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        rows = [(_names(entry), _about(entry)) for entry in panel.entries]
        if rows:
            title = "Options" if _plain(panel.title) == "Parameters" else _plain(panel.title)
            console.file.write("\n".join(["", f"{title}:", *columns(rows), ""]))

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        text = _plain(usage)
        console.file.write(f"{text if text.startswith('Usage:') else f'Usage: {text}'}\n")

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        if text := _plain(description):
            console.file.write(f"\n{text}\n")


def _plain(value: Any) -> str:
    if value is None:
        return ""
    for attribute in ("plain", "primary_renderable"):
        if hasattr(value, attribute):
            return _plain(getattr(value, attribute))
    return str(value).strip()


def _names(entry: HelpEntry) -> str:
    labels = [label for label in entry.display_labels_with_metavar if label not in entry.negative_names]
    return ", ".join(sorted(labels, key=lambda label: (label.startswith("--"), not label.startswith("-"))))


def _about(entry: HelpEntry) -> str:
    text = _plain(entry.description)
    if entry.choices:
        text += f" [{', '.join(entry.choices)}]"
    if entry.default is not None:
        text += f" (default: {entry.default})"
    return text
