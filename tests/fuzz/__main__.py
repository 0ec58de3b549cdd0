"""`make fuzz`: mutates requests for a time; the first one on which decoder and oracle differ ends it with a file.

`python -m tests.fuzz FILE...` replays such files, without the fuzzer. What was found to be worth more tries is kept in
build/fuzz/corpus from one run to the next. What the fuzzer follows is the code of the oracle: it takes every decision that the
native decoder takes. With `--unguided` files are changed at random, without atheris: this runs on sanitized kernels, too.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path
from random import Random

FOLDER = Path(__file__).parents[2] / "build" / "fuzz"
REQUEST_BYTES_MAX = 4096
TRY_SECONDS_MAX = 10
_SHOWN_BYTES_MAX = 2000


def replay(files: list[Path]) -> int:
    """Say what each file asks and in what the answers differ; -> exit status."""
    from tests.fuzz.cases import case_of, differences

    status = 0
    for file in files:
        data = file.read_bytes()
        case = case_of(data)
        found = differences(case)
        status |= bool(found)
        what = f"{file}: {case.signal}, limits {data[1:2].hex() or '-'}, {len(case.request)} bytes: {case.request.hex()}"
        sys.stdout.write("\n".join([what, *_shown(found), ""]))
    return status


def unguided(seconds: int, seed: int) -> int:
    """Change seeds, the corpus and what came of them at random; -> exit status. The file under way outlives a crash."""
    from tests.fuzz.cases import case_of, differences
    from tests.fuzz.mutator import Mutator
    from tests.fuzz.seeds import seeds

    first = seeds()
    mutator, random = Mutator(first), Random(seed)
    known = first + [path.read_bytes() for path in sorted((FOLDER / "corpus").glob("*"))]
    under_way = FOLDER / f"under-way-{seed}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    deadline, tries, data = time.monotonic() + seconds, 0, b""
    while time.monotonic() < deadline:
        data = mutator.change(data if random.random() < 0.5 else random.choice(known), REQUEST_BYTES_MAX, random)
        under_way.write_bytes(data)
        tries += 1
        if found := differences(case_of(data)):
            file = under_way.rename(FOLDER / f"crash-{hashlib.sha1(data, usedforsecurity=False).hexdigest()}")
            sys.stdout.write("\n".join([f"After {tries} tries, {file}:", *_shown(found), ""]))
            return 1
    under_way.unlink(missing_ok=True)
    sys.stdout.write(f"{tries} tries in {seconds} s with seed {seed}: decoder and oracle agree\n")
    return 0


def guided(seconds: int) -> None:
    """Run the fuzzer; does not return."""
    import atheris

    with atheris.instrument_imports(include=["tests.collector.oracle", "collector", "driftlock.engine.canonical"]):
        from tests.fuzz.cases import case_of, differences
        from tests.fuzz.mutator import Mutator
        from tests.fuzz.seeds import seeds

    first = seeds()
    mutator = Mutator(first)

    def change(data: bytes, bytes_max: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.1:  # libFuzzer's own changes know what the code compared with
            return bytes(atheris.Mutate(data, bytes_max))
        return mutator.change(data, bytes_max, random)

    def check(data: bytes) -> None:
        if found := differences(case_of(data)):
            raise AssertionError("\n".join(["the decoder and its oracle differ", *_shown(found)]))

    for name in ("seeds", "corpus"):
        (FOLDER / name).mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(first):
        (FOLDER / "seeds" / f"{number:03}").write_bytes(seed)
    settings = {
        "max_total_time": seconds,
        "max_len": REQUEST_BYTES_MAX,
        "timeout": TRY_SECONDS_MAX,
        "artifact_prefix": f"{FOLDER}/",
        "print_final_stats": 1,
    }
    folders = [str(FOLDER / name) for name in ("corpus", "seeds")]
    atheris.Setup(
        [sys.argv[0], *(f"-{name}={value}" for name, value in settings.items()), *folders], check, custom_mutator=change
    )
    atheris.Fuzz()


def _shown(found: list[str]) -> list[str]:
    return [line[:_SHOWN_BYTES_MAX] for line in found] or ["no difference"]


def main() -> int:
    """Replay files, or fuzz; -> exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Compare the OTLP decoder with its oracle.")
    parser.add_argument("files", nargs="*", type=Path, help="replay these instead")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--unguided", action="store_true", help="without atheris")
    parser.add_argument("--seed", type=int, default=0, help="of unguided changes")
    chosen = parser.parse_args()
    if chosen.files:
        return replay(chosen.files)
    if chosen.unguided:
        return unguided(chosen.seconds, chosen.seed)
    guided(chosen.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
