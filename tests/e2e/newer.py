"""A server of a later version, as far as eras can tell: python -m tests.e2e.newer VERSION serve."""

import sys

from driftlock.engine import era
from server.cli import main

if __name__ == "__main__":
    era.ALGORITHM_VERSION = int(sys.argv[1])
    main(args=sys.argv[2:], prog_name="driftlock")
