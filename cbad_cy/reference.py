"""Oracles of the kernels in plain Python: slow, readable, written apart from them. Tests compare; nothing else imports this.

The tokenizer here works in three passes (lex with regular expressions, read rules over the pieces, fold repeats), where the
kernel works in one; agreement of the two is therefore evidence. The rules themselves are stated in `cbad_cy.tokenize`. Masks
are regular expressions here, in which no run gives back what it took.
"""

import math
import re
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import lz4.block
import zstandard

from cbad_cy.tokenize import MaskPattern, Masks, Run, TokenKind

_HEX: Final = rb"[0-9a-fA-F]"
_UUID: Final = (
    rb"(?<![0-9A-Za-z\x80-\xff])" + rb"-".join(_HEX + b"{%d}" % n for n in (8, 4, 4, 4, 12)) + rb"(?![0-9A-Za-z\x80-\xff])"
)
_PIECE: Final = re.compile(
    rb"(?P<uuid>" + _UUID + rb")|(?P<run>(?:(?!" + _UUID + rb")[0-9A-Za-z_\x80-\xff])+)|(?P<space>[ \t-\r]+)|(?P<other>.)",
    re.DOTALL,
)
_DIGITS: Final = re.compile(rb"[0-9]+")
_MONTHS: Final = b"January February March April May June July August September October November December".split()
_WEEKDAYS: Final = b"Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_DATES: Final = frozenset(name[:size] for name in _MONTHS + _WEEKDAYS for size in (3, len(name)))
_MARKS: Final = MappingProxyType(
    {
        TokenKind.UUID: b"<U>",
        TokenKind.IP: b"<IP>",
        TokenKind.TIME: b"<T>",
        TokenKind.VALUE: b"<V>",
        TokenKind.NUMBER: b"#",
        TokenKind.HEX: b"<H>",
        TokenKind.OPAQUE: b"<X>",
        TokenKind.DATE: b"<D>",
        TokenKind.PATH: b"<P>",
    }
)


@dataclass(frozen=True, slots=True)
class Piece:
    """What the lexer sees: a UUID, a run, whitespace or another byte, and where it starts."""

    name: str
    text: bytes
    start: int

    @property
    def end(self) -> int:
        """Offset behind the piece."""
        return self.start + len(self.text)

    @property
    def is_number(self) -> bool:
        """Whether it is a run of digits and nothing else."""
        return self.name == "run" and _DIGITS.fullmatch(self.text) is not None


@dataclass(frozen=True, slots=True)
class Token:
    """A token before it is placed: its masked text, source range, slots, and whether whitespace stood before it."""

    kind: TokenKind
    text: bytes
    start: int
    end: int
    slots: tuple[bytes, ...] = ()
    spaced: bool = False


_OUTSIDE: Final = Piece("outside", b"", -1)
_LETTER: Final = Piece("run", b"a", -1)


class _Reader:
    """Rules 1 to 5 over the pieces of one line, or of a part of it; `after_match`: a mask's match stands before it."""

    def __init__(self, line: bytes, paths_as_slots: bool, after_match: bool = False) -> None:
        self.line = line
        self.paths_as_slots = paths_as_slots
        self.before = _LETTER if after_match else _OUTSIDE
        self.pieces = [Piece(str(m.lastgroup), m.group(), m.start()) for m in _PIECE.finditer(line)]

    def at(self, i: int) -> Piece:
        return self.pieces[i] if 0 <= i < len(self.pieces) else self.before if i < 0 else _OUTSIDE

    def tokens(self) -> tuple[list[Token], bool]:
        """The tokens, and whether whitespace follows the last one."""
        found: list[Token] = []
        i, spaced = 0, False
        while i < len(self.pieces):
            if self.pieces[i].name == "space":
                i, spaced = i + 1, True
                continue
            token, i = self.token(i)
            if token is not None:
                found.append(replace(token, spaced=spaced))
                spaced = False
        return found, spaced

    def token(self, i: int) -> tuple[Token | None, int]:
        """The token at piece i (None: dropped) and the next piece."""
        piece, after = self.at(i), self.at(i + 1)
        if piece.name == "uuid":
            return Token(TokenKind.UUID, b"<U>", piece.start, piece.end, (piece.text,)), i + 1
        if piece.is_number:
            return self.number(i, i)
        if piece.text == b"-" and after.is_number and not _ends_in_letter_or_digit(self.at(i - 1)):
            return self.number(i, i + 1)
        if piece.text == b"/" and _starts_with_letter(after):
            path = self.path(i)
            if path is not None:
                return path
        if piece.text == b"/" and after.is_number and self.at(i - 1).name in ("space", "outside"):
            return None, i + 1
        if piece.name == "run":
            return self.run(i)
        return Token(TokenKind.PUNCT, piece.text, piece.start, piece.end), i + 1

    def number(self, first: int, i: int) -> tuple[Token, int]:
        """Rule 2 from piece i on; `first` is the minus sign, or i itself."""
        joints, numbers, i = self.joined(i)
        source = self.line[self.at(first).start : self.at(i - 1).end]
        kind = _group_kind(joints, len(numbers[0]))
        slots: tuple[bytes, ...] = (source,)
        if kind == TokenKind.IP:
            slots = (b".".join(numbers[:4]),)
        elif kind == TokenKind.TIME:
            slots = ()
        return Token(kind, _MARKS[kind], self.at(first).start, self.at(i - 1).end, slots), i

    def joined(self, i: int) -> tuple[bytes, list[bytes], int]:
        """Separators and numbers of the group that starts at piece i, and the next piece."""
        joints, numbers, i = b"", [self.at(i).text], i + 1
        while self.at(i).text in (b".", b":", b"/", b"-", b",") and not (self.at(i).text == b"," and not joints):
            separator, after = self.at(i).text, self.at(i + 1)
            date = b"".join(self.at(k).text for k in range(i, i + 4))
            if not joints and re.fullmatch(rb"/[A-Z][a-z]{2}/[0-9]{4}", date) and after.text in {m[:3] for m in _MONTHS}:
                joints, i = b"//", i + 4
                numbers.append(self.at(i - 1).text)
            elif after.is_number:
                joints, i = joints + separator, i + 2
                numbers.append(after.text)
            elif (
                joints + separator == b"--"
                and len(numbers[0]) == 4
                and self.at(i + 2).text == b":"
                and after.name == "run"
                and re.fullmatch(rb"[0-9]+T[0-9]{2}", after.text)
            ):
                joints, i = b"--T", i + 2
                numbers += after.text.split(b"T")
            elif b"T" in joints and after.name == "run" and re.fullmatch(rb"[0-9]+Z", after.text):
                return joints + separator, [*numbers, after.text], i + 2
            else:
                break
        return joints, numbers, i

    def path(self, i: int) -> tuple[Token, int] | None:
        """Rule 3 from piece i, a slash, on."""
        k = i
        while self.at(k).name in ("run", "uuid") or (self.at(k).name == "other" and self.at(k).text in b"/.-:$@%+=~"):
            if self.at(k).text == b":" and self.at(k + 1).name in ("space", "outside"):
                break
            k += 1
        if sum(self.at(j).text == b"/" for j in range(i, k)) < 2:
            return None
        while self.at(k - 1).text in (b".", b":"):
            k -= 1
        start, end = self.at(i).start, self.at(k - 1).end
        shape = _DIGITS.sub(b"#", self.line[start:end])
        return Token(TokenKind.PATH, b"<P>" if self.paths_as_slots else shape, start, end, (shape,)), k

    def run(self, i: int) -> tuple[Token, int]:
        """Rules 4 and 5 for the run at piece i."""
        piece = self.at(i)
        if piece.text in _DATES:
            return Token(TokenKind.DATE, b"<D>", piece.start, piece.end), i + 1
        parts = [_masked_part(part) for part in piece.text.split(b"_")]
        text, slots = b"_".join(shape for _, shape, _ in parts), [value for _, _, values in parts for value in values]
        kinds = {kind for kind, _, _ in parts}
        kind = TokenKind.WORD if kinds == {TokenKind.WORD} else parts[0][0] if len(parts) == 1 else TokenKind.SHAPE
        token = Token(kind, text, piece.start, piece.end, tuple(slots))
        if piece.text.endswith(b"_") and self.at(i + 1).text == b"-" and self.at(i + 2).is_number:
            joints, numbers, k = self.joined(i + 2)
            if not joints:
                slots.append(b"-" + numbers[0])
                return Token(TokenKind.SHAPE, text + b"#", piece.start, self.at(k - 1).end, tuple(slots)), k
        return token, i + 1


def _ends_in_letter_or_digit(piece: Piece) -> bool:
    return piece.name in ("run", "uuid") and not piece.text.endswith(b"_")


def _starts_with_letter(piece: Piece) -> bool:
    return piece.name in ("run", "uuid") and re.match(rb"[A-Za-z\x80-\xff]", piece.text) is not None


def _group_kind(joints: bytes, first_bytes: int) -> TokenKind:
    if joints.startswith(b"..."):
        return TokenKind.IP
    if joints in (b"", b"."):
        return TokenKind.NUMBER
    if b"::" in joints or joints.count(b"-") >= 2 or joints.count(b"/") >= 2 or (joints[:1] == b":" and first_bytes == 2):
        return TokenKind.TIME
    return TokenKind.VALUE


def _masked_part(part: bytes) -> tuple[TokenKind, bytes, tuple[bytes, ...]]:
    """Rule 4 for a part without `_`: kind, masked text, slots."""
    numbers = tuple(_DIGITS.findall(part))
    if not numbers:
        return TokenKind.WORD, part, ()
    if numbers == (part,):
        return TokenKind.NUMBER, b"#", numbers
    if len(part) >= 4 and re.fullmatch(_HEX + b"+", part):
        return TokenKind.HEX, b"<H>", (part,)
    switches = len(re.findall(rb"(?<=[0-9])(?=[^0-9])|(?<=[^0-9])(?=[0-9])", part))
    mixed = re.search(rb"[A-Z]", part) and re.search(rb"[a-z]", part)
    if switches >= 3 or (len(part) >= 16 and mixed):
        return TokenKind.OPAQUE, b"<X>", (part,)
    return TokenKind.SHAPE, _DIGITS.sub(b"#", part), numbers


def _folded(tokens: list[Token]) -> list[Token]:
    """Rule 6."""
    kept: list[Token] = []
    for token in tokens:
        lettered = re.match(rb"[0-9A-Za-z\x80-\xff]", token.text) is not None
        masked = token.kind != TokenKind.PUNCT and (token.text == b"#" or token.text.startswith(b"<"))
        if kept and kept[-1].text == token.text and not lettered:
            kept[-1] = replace(kept[-1], end=token.end)
        elif (
            len(kept) >= 2
            and masked
            and kept[-2].text == token.text
            and kept[-1].kind not in (TokenKind.WORD, TokenKind.SHAPE, TokenKind.PATH)
        ):
            kept.pop()
            kept[-1] = replace(kept[-1], end=token.end)
        else:
            kept.append(token)
    return kept


def _expression(pattern: MaskPattern) -> bytes:
    """A mask as a regular expression; its only group is the slot."""
    word = rb"[0-9A-Za-z_\x80-\xff]"
    border = rb"(?!(?<=%s)%s)" % (word, word)
    parts = [rb"(?![\x80-\xbf\s])", b"" if pattern.starts_within else border]
    runs = [i for i, element in enumerate(pattern.elements) if isinstance(element, Run)]
    for i, element in enumerate(pattern.elements):
        parts.append(b"(" if i == runs[0] else b"")
        if isinstance(element, Run):
            members = b"".join(rb"\x%02x" % byte for byte in element.members)
            parts.append(b"[%s]{%d,%d}+" % (members, element.least, element.most))
        else:
            parts.append(re.escape(element))
        parts.append(b")" if i == runs[-1] else b"")
    return b"".join([*parts, rb"(?![\x80-\xbf])", b"" if pattern.ends_within else border])


def _tokens(line: bytes, paths_as_slots: bool, masks: Masks | None) -> list[Token]:
    """Tokens before rule 6. The line is cut at the leftmost matches, of those at one place the mask that is listed first."""
    patterns = [(pattern.name, re.compile(_expression(pattern))) for pattern in (masks.patterns if masks else ())]
    found: list[Token] = []
    at, spaced = 0, False
    while True:
        matches = [(name, match) for name, expression in patterns if (match := expression.search(line, at))]
        name, match = min(matches, key=lambda candidate: candidate[1].start(), default=(b"", None))
        part, space = _Reader(line[at : match.start() if match else len(line)], paths_as_slots, at > 0).tokens()
        part = [replace(token, start=token.start + at, end=token.end + at) for token in part]
        if part:
            part[0] = replace(part[0], spaced=spaced or part[0].spaced)
            spaced = False
        found += part
        if match is None:
            return found
        value = (match.group(1),)
        found.append(Token(TokenKind.MASK, b"<%s>" % name, match.start(), match.end(), value, spaced or space))
        at, spaced = match.end(), False


def tokens(line: bytes, *, paths_as_slots: bool = False, masks: Masks | None = None) -> list[tuple[int, int, int, int, int]]:
    """As `cbad_cy.tokenize.tokens`."""
    placed: list[tuple[int, int, int, int, int]] = []
    at = 0
    for token in _folded(_tokens(line, paths_as_slots, masks)):
        at += token.spaced and at > 0
        placed.append((token.kind, at, at + len(token.text), token.start, token.end))
        at += len(token.text)
    return placed


def mask_line(line: bytes, *, paths_as_slots: bool = False, masks: Masks | None = None) -> bytes:
    """As `cbad_cy.tokenize.mask_line`."""
    text = b"".join(b" " * token.spaced + token.text for token in _folded(_tokens(line, paths_as_slots, masks)))
    return text.removeprefix(b" ")


def slots(line: bytes, *, masks: Masks | None = None) -> list[bytes]:
    """As `cbad_cy.tokenize.slots`."""
    return [value for token in _tokens(line, False, masks) for value in token.slots]


def cut(line: bytes, bytes_max: int) -> bytes:
    """The longest prefix of at most `bytes_max` bytes that does not end inside a UTF-8 sequence."""
    for end in range(bytes_max, max(bytes_max - 4, -1), -1):
        if end >= len(line) or line[end] & 0xC0 != 0x80:
            return line[:end]
    return line[:bytes_max]


def entropy(data: bytes) -> float:
    """As `cbad_cy.codec.entropy`, to rounding."""
    return math.fsum(-count / len(data) * math.log2(count / len(data)) for count in Counter(data).values())


def zstd_size(data: bytes, level: int, dictionary: bytes | None = None) -> int:
    """Size of the zstd frame of `data`, by the library that the `zstandard` package brings.

    Near `Codec.size` and `.size_given`, and equal to them when the library versions are equal.
    """
    parameters = zstandard.ZstdCompressionParameters(
        compression_level=level,
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=False,
        write_checksum=False,
        write_dict_id=False,
    )
    if dictionary is None:
        return len(zstandard.ZstdCompressor(compression_params=parameters).compress(data))
    past = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    past.precompute_compress(level=level)
    return len(zstandard.ZstdCompressor(compression_params=parameters, dict_data=past).compress(data))


def lz4_size(data: bytes, level: int, dictionary: bytes | None = None) -> int:
    """Size of the lz4 block of `data`, by the library that the `lz4` package brings; `level` is 1.

    Near `Codec.size` and `.size_given`, and equal to them when the library versions are equal.
    """
    # liblz4 ignores a dictionary of fewer than 8 bytes
    past = dictionary if dictionary is not None and len(dictionary) >= 8 else b""
    return len(lz4.block.compress(data, mode="fast", acceleration=level, store_size=False, dict=past))


def gzip_size(data: bytes, level: int, dictionary: bytes | None = None) -> int:
    """Size of the raw deflate stream of `data`, by Python's zlib.

    Near `Codec.size` and `.size_given`, and equal to them when the library versions are equal.
    """
    past = () if dictionary is None else (dictionary,)
    stream = zlib.compressobj(level, zlib.DEFLATED, -15, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY, *past)
    return len(stream.compress(data) + stream.flush())


def _grams(text: bytes, gram: int) -> set[bytes]:
    return {text[i : i + gram] for i in range(len(text) - gram + 1)}


def novel_spans(reference: bytes, line: bytes, gram: int) -> list[tuple[int, int]]:
    """As `Coverage(reference, gram).novel_spans(line)`."""
    if len(line) < gram:
        return [] if line in reference else [(0, len(line))]
    known = _grams(reference, gram)
    covered = {i + k for i in range(len(line) - gram + 1) if line[i : i + gram] in known for k in range(gram)}
    marks = "".join("." if i in covered else "N" for i in range(len(line)))
    return [match.span() for match in re.finditer("N+", marks)]


def nearest(line: bytes, lines: list[bytes], gram: int = 4) -> int:
    """As `cbad_cy.novelty.nearest`, over lines that stand apart."""
    wanted = _grams(line, gram)
    shared = [len(wanted & _grams(other, gram)) for other in lines]
    best = max(shared, default=0)
    return shared.index(best) if best else -1
