"""Writes elements of SVG and HTML: every text and every value is escaped, whatever it holds."""

from __future__ import annotations

from html import escape

from openrouter_usage.text import safe

Value = str | int | float
Attributes = dict[str, Value]


def element(tag: str, /, *children: str, **attributes: Value) -> str:
    """Write an element around children that are written already; an underscore in a name stands for a hyphen."""
    inside = "".join(children)
    return f"<{tag}{_written(attributes)}>{inside}</{tag}>" if inside else f"<{tag}{_written(attributes)}/>"


def tag(name: str, /, *children: str, **attributes: Value) -> str:
    """Write an element of HTML, which has an end even when it holds nothing."""
    return f"<{name}{_written(attributes)}>{''.join(children)}</{name}>"


def text(words: object, limit: int = 1_000) -> str:
    """Write words that mean nothing to a browser: one printable line, with every sign of markup escaped."""
    return escape(safe(words, limit))


def _written(attributes: Attributes) -> str:
    return "".join(f' {_name(name)}="{escape(_number(value))}"' for name, value in attributes.items())


def _name(name: str) -> str:
    return name.rstrip("_").replace("_", "-") if name != "viewBox" else name


def _number(value: Value) -> str:
    """Write a value; a length to the hundredth of a pixel, which nobody sees."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
