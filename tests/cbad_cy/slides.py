"""What the tests of the window share: eventful streams of masked lines, slides, and how they are fed and restarted."""

from __future__ import annotations

import random
from array import array
from typing import Any

from cbad_cy.codec import Codec
from cbad_cy.codelength import Coder
from cbad_cy.slide import Slide, Window

Line = tuple[bytes, list[int], int]  # masked, slots, instance

SIZES: dict[str, Any] = {"baseline": 40, "window": 12, "hop": 4, "memory": 150, "past_bytes_max": 600}
SIZES |= {"reference": 60, "block": 1, "lag": 3, "normals": 24}
# So low that every question flags something in these short streams.
THRESHOLDS: dict[str, Any] = {"distance_threshold": 0.1, "p_value_threshold": 0.4}
CODER_BYTES = 1 << 20  # so that nothing is given up: the coder's oracle never does
KINDS = [b"stored order # by worker #", b"loaded cart # in # ms", b"", b"ok", b"refused payment #", b"lease of <IP> renewed"]
WAYS = ("novel", "frozen", "shuffled", "missing", "instance")


def stream(seed: int, count: int, *, eventful: bool = True) -> list[Line]:
    """A few kinds in a usual order from six instances; now and then a time of another way, and lines that nobody has seen."""
    rng, lines, kind = random.Random(seed), list[Line](), 0
    way, until = "usual", 0
    while len(lines) < count:
        if eventful and rng.random() < 0.004:
            way = rng.choice(WAYS)
            until = len(lines) + rng.randrange(20, 90) * (3 if way == "instance" else 1)
        if len(lines) >= until:
            way = "usual"
        if eventful and rng.random() < (0.3 if way == "novel" else 0.002):
            lines += [(alien(rng), [], rng.randrange(4)) for _ in range(rng.randrange(1, 5))]
        if way != "frozen":
            kind = rng.randrange(6) if way == "shuffled" or rng.random() < 0.2 else (kind + 1) % 6
        if way == "missing" and kind == 1:
            kind = 2
        instance = 3 if way == "instance" and rng.random() < 0.4 else rng.randrange(6)
        line = KINDS[4 if way == "instance" and instance == 3 else kind]
        lines.append((line, [rng.randrange(4) << 56 | rng.randrange(9) for _ in range(line.count(b"#"))], instance))
    return lines[:count]


def alien(rng: random.Random) -> bytes:
    """A line of a few words that are not words."""
    return bytes(rng.choices(b"abcdefgh  ", k=rng.randrange(5, 40)))


def new_slide(codec: Codec, **changes: int) -> Slide:
    """A slide for a codec, with a coder where it needs one."""
    return Slide(**SIZES | changes, coder=Coder(bytes_max=CODER_BYTES) if codec.name == "statistical" else None)


def feed(slide: Slide, lines: list[Line]) -> None:
    slide.feed(
        b"".join(line for line, _, _ in lines),
        array("I", [len(line) for line, _, _ in lines]),
        array("Q", [slot for _, slots, _ in lines for slot in slots]),
        array("B", [len(slots) for _, slots, _ in lines]),
        array("Q", [instance for _, _, instance in lines]),
    )


def fold(slide: Slide, lines: list[Line], codec: Codec, size: int = 1000, watch: bool = False) -> list[Window]:
    """The windows that `advance` returns, with so many lines a batch."""
    found = []
    for start in range(0, len(lines), size):
        feed(slide, lines[start : start + size])
        while (window := slide.advance(codec, watch=watch, **THRESHOLDS)) is not None:
            found.append(window)
    return found


def restarted(slide: Slide, codec: Codec) -> Slide:
    """Another slide that continues where this one is, from what can be stored of it."""
    other = new_slide(codec)
    mine, theirs = other.content, slide.content
    other.pool.restore(*slide.pool.parts())
    other.mix.restore(slide.mix.parts())
    other.instances.restore(slide.instances.parts())
    if mine.coder is not None and theirs.coder is not None:
        mine.coder.restore(theirs.coder.parts())
    mine.restore(context=theirs.context, novel=theirs.novel_lines())
    for empty, reference in zip((*mine.lengths, *mine.accents), (*theirs.lengths, *theirs.accents), strict=True):
        empty.restore(*reference.parts())
    for sample, full in (
        (mine.ratios, theirs.ratios),
        (mine.dear_ratios, theirs.dear_ratios),
        (other.compressions, slide.compressions),
        (other.entropies, slide.entropies),
    ):
        for value in full.values():
            sample.add(value)
    other.restore_window(
        slide.window_lines(),
        slide.window_flags(),
        slide.window_costs(),
        taken=slide.lines,
        windows=slide.windows,
        accepted=slide.accepted,
        odd_one=slide.odd_one(),
        codec=codec,
        dictionary=None if slide.prepared is None else slide.prepared.source_bytes,
    )
    return other


def known(slide: Slide) -> tuple[object, ...]:
    """Everything that a slide has learned, to compare."""
    content = slide.content
    return (
        slide.pool.parts(),
        slide.mix.parts(),
        slide.instances.parts(),
        b"" if content.coder is None else content.coder.parts(),
        [reference.parts() for reference in (*content.lengths, *content.accents)],
        [sample.values() for sample in (content.ratios, content.dear_ratios, slide.compressions, slide.entropies)],
        (content.context, content.novel_lines(), slide.odd_one(), slide.window_flags(), slide.window_costs()),
        (slide.lines, slide.windows, slide.accepted),
    )
