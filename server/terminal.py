"""Text from outside, made safe to print: a log line must never move the cursor, recolour the screen or forge another line."""

import unicodedata

# Characters that reorder or hide what stands around them (Unicode Standard Annex 9, and zero-width ones).
_DECEPTIVE = frozenset("\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str, *, keep: str = "") -> str:
    r"""`text` with control, reordering and unpaired surrogate characters written as escapes; those in `keep` stay.

    >>> visible("user\x1b[31m root\n")
    'user\\x1b[31m root\\n'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character, keep) for character in text)


def _shown(character: str, keep: str) -> str:
    if character in keep:
        return character
    if character in _SHORT:
        return _SHORT[character]
    if unicodedata.category(character) not in ("Cc", "Cs") and character not in _DECEPTIVE:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
