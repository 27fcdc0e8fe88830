"""Links between the pages lead somewhere: to a file that is there, and to a heading of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from docs_runner import find_pages

ROOT = Path(__file__).parents[1]
MARKDOWN = MarkdownIt().enable("table")


def _links(page: Path) -> Iterator[str]:
    for token in MARKDOWN.parse(page.read_text(encoding="utf-8")):
        for inline in token.children or ():
            if inline.type == "link_open":
                yield str(inline.attrs["href"])


def _anchors(page: Path) -> set[str]:
    """Headings as the usual renderers of Markdown call them."""
    tokens = MARKDOWN.parse(page.read_text(encoding="utf-8"))
    titles = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", find_pages(ROOT), ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    broken = []
    for link in _links(page):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_linked() -> None:
    pages = set(find_pages(ROOT)) - {ROOT / "README.md"}
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in _links(ROOT / "README.md")}
    assert pages <= linked
