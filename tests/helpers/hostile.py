"""A study with texts of markup and scripts, and a parser of pages."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&quot;'\u202e שלום 😀"


class Parts(HTMLParser):
    """The elements of a page with their attributes, its visible text, and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.rawdata and self.cdata_elem == "script":
            self.scripts[-1] += data
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def with_hostile_texts(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    for key in ("study", "attack", "dataset", "model", "command", "host", "git", "created", "recommended_why"):
        summary[key] = HOSTILE
    for name in ("versions", "attack_settings", "counts"):
        summary[name][HOSTILE] = HOSTILE
    summary["seconds"][HOSTILE] = 1.0
    summary["controls"][1]["name"] = summary["controls"][2]["params"][HOSTILE] = HOSTILE
    for row in rows:
        row.update({"params_" + HOSTILE: HOSTILE, "params_recipe": HOSTILE, "host": HOSTILE})
        row["error"] = row["traceback"] = HOSTILE if row["error"] else ""
        row["control"] = HOSTILE if row["control"] else ""
