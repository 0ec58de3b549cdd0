"""Parsers of settings that know nothing of Driftlock: from the text of a variable to a value, or ValueError with advice."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

KIB, MIB, GIB = 1024, 1024**2, 1024**3


def parse_bytes(low: int, high: int) -> Callable[[str], int]:
    """A parser of byte counts from `low` to `high`, such as 1048576, 512KiB, 16MiB or 4GiB."""

    def parse(text: str) -> int:
        number, unit = text, 1
        for suffix, size in (("KiB", KIB), ("MiB", MIB), ("GiB", GIB)):
            if text.endswith(suffix):
                number, unit = text.removesuffix(suffix).rstrip(), size
        if not (number.isascii() and number.isdigit() and low <= int(number) * unit <= high):
            raise ValueError(f"use a number of bytes from {low} to {high}, plain or with KiB, MiB or GiB")
        return int(number) * unit

    return parse


def parse_int(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"use a whole number from {low} to {high}")
        return int(text)

    return parse


def parse_int_or_zero(low: int, high: int) -> Callable[[str], int]:
    """A parser of 0 and of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            return 0 if text == "0" else parse_int(low, high)(text)
        except ValueError as error:
            raise ValueError(f"{error}, or 0") from None

    return parse


def parse_bytes_or_zero(low: int, high: int) -> Callable[[str], int]:
    """A parser of 0 and of byte counts from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            return 0 if text == "0" else parse_bytes(low, high)(text)
        except ValueError as error:
            raise ValueError(f"{error}, or 0") from None

    return parse


def parse_choice(*choices: str) -> Callable[[str], str]:
    """A parser of one word out of a few."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"use one of {', '.join(choices)}")
        return text

    return parse


def parse_switch(text: str) -> bool:
    """`on` or `off`."""
    return parse_choice("on", "off")(text) == "on"


def parse_url(*schemes: str) -> Callable[[str], str]:
    """A parser of URLs with a host and one of `schemes`."""

    def parse(text: str) -> str:
        try:
            parts = urlsplit(text)
            usable = parts.scheme in schemes and (parts.hostname is not None or parts.scheme.startswith("postgres"))
            _ = parts.port
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"use {' or '.join(f'{scheme}://host:port' for scheme in schemes)}")
        return text.rstrip("/") if parts.scheme.startswith("http") else text

    return parse


def parse_path(text: str) -> Path:
    """A file or a folder; `~` is the home folder, a relative path starts at the working folder."""
    if "\x00" in text:
        raise ValueError("use the path of a file or a folder")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("`~` leads to no home folder here: use the whole path") from None


def parse_project(text: str) -> str:
    """The id of a Firebase project: 6 to 30 lower-case letters, digits and hyphens, a letter first."""
    letters = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    if not (6 <= len(text) <= 30 and set(text) <= letters and text[0].isalpha() and not text.endswith("-")):
        raise ValueError("use the project's id as the Firebase console shows it, such as driftlock-prod")
    return text


def parse_word(text: str) -> str:
    """Visible ASCII characters, at most 256."""
    if not (len(text) <= 256 and text.isascii() and text.isprintable() and " " not in text):
        raise ValueError("use at most 256 visible ASCII characters")
    return text


def parse_text(text: str) -> str:
    """Any text without control characters, at most 4096 characters."""
    if not (len(text) <= 4096 and text.isprintable()):
        raise ValueError("use at most 4096 characters, none of them a control character")
    return text


def parse_emulator(text: str) -> str:
    """`host:port`, without a scheme."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and "/" not in text and port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError("use host:port with a port of 1..65535, such as 127.0.0.1:9099")
    return text
