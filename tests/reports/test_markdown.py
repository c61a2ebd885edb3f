"""The oracle is a Markdown parser: what it reads back is what was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reports.markdown import bullets, code_block, escaped, table

HOSTILE = [
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>",
    "a|b || c",
    "*bold* _it_ ~~gone~~ `code` ``x``",
    "[link](https://example.org) ![picture](x.png) <https://example.org>",
    "# head",
    "- item",
    "+ item",
    "1. item",
    "12) item",
    "===",
    "---",
    "> quote",
    "&lt; &#64; &amp;",
    "back\\slash \\* \\",
    "https://example.org www.example.org",
    "שלום 😀",
    "$x$ @someone #12",
    "~~~",
    "```",
    "98.6%",
]


def parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


def texts(markdown: str, *within: str) -> list[str]:
    """The text of every inline part; it must hold nothing but text, and stand in these blocks alone."""
    found = []
    for token in parser().parse(markdown):
        if token.type == "inline":
            assert {child.type for child in token.children or []} <= {"text", "text_special"}
            found.append("".join(child.content for child in token.children or []))
        else:
            assert token.tag in within, token
    return found


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_read_back_as_it_was(text: str) -> None:
    assert texts(escaped(text), "p") == [text]
    assert texts(bullets([text, "next"]), "p", "ul", "li") == [text, "next"]
    cells = ("table", "thead", "tbody", "tr", "th", "td")
    assert texts(table(("name", text), [(text, "1")], numeric=[1]), *cells) == ["name", text, text, "1"]


@given(st.text(st.characters(codec="ascii"), min_size=1))
def test_any_ascii_is_read_back_on_one_line(text: str) -> None:
    line = " ".join("".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text).split())
    assert texts(escaped(text), "p") == ([line] if line else [])


@pytest.mark.parametrize("text", [*HOSTILE, "````\n```", "two\nlines"])
def test_code_is_read_back_as_it_was(text: str) -> None:
    (token,) = parser().parse(code_block(text, "console"))
    assert (token.type, token.content, token.info) == ("fence", text + "\n", "console")


def test_controls_of_direction_and_of_terminals_are_not_passed_on() -> None:
    assert escaped("a\u202eb\x1b[31m\ud83d") == "a\ufffdb\ufffd\\[31m\ufffd"
    assert code_block("a\u202eb") == "```\na\ufffdb\n```"


def test_bare_addresses_make_no_link() -> None:
    assert "https://" not in escaped("https://example.org")
    assert "www." not in escaped("www.example.org WWW.example.org").lower()
