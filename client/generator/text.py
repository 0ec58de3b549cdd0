"""Words of the document as docstrings."""

import re
import textwrap

WIDTH = 120


def docstring(words: str | None, indent: str) -> str:
    """A docstring with `indent` before each of its lines; nothing for no words."""
    if not words:
        return ""
    escaped = words.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    paragraphs = [textwrap.wrap(part, WIDTH - len(indent)) for part in escaped.split("\n\n")]
    text = f"\n\n{indent}".join(f"\n{indent}".join(lines) for lines in paragraphs)
    if "\n" in text:
        return f'{indent}"""{text}\n{indent}"""\n'
    return f'{indent}"""{text}{" " if text.endswith(chr(34)) else ""}"""\n'


def comment(words: str | None) -> str:
    """The docstring of an attribute."""
    return docstring(words, "    ")


def snake_case(name: str) -> str:
    """`listApiKeys` -> `list_api_keys`, `If-Match` -> `if_match`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()
