"""The allocator keeps what is freed."""

import subprocess
import sys

PROGRAM = """
import resource
from server.allocator import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
blocks = [bytearray(b"x") * (8 << 20) for _ in range(6)]
del blocks
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    blocks = [bytearray(b"x") * (8 << 20) for _ in range(6)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    """Page faults of a process that makes and drops six times 8 MiB, ten times over."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(keep=keep)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_freed_memory_is_used_again() -> None:
    assert 10 * faults(keep=True) < faults(keep=False)
