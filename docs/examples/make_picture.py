"""Draws the README's picture, `docs/images/replay.svg`: what `driftlock replay` prints of the sample log.

make run                                       # in one terminal
.venv/bin/python docs/examples/make_picture.py # in another
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from server.client import RestClient, find_endpoints
from server.replay.run import Replay, ReplayOptions
from server.replay.sender import Sender
from server.report.table import print_report
from server.settings import read_settings

HERE = Path(__file__).parent
WIDTH = 118


def main() -> None:
    """Replay the sample into the stream `shop` of the local server and draw what was found."""
    command = [str(Path(sys.executable).parent / "driftlock"), "replay", "--json", str(HERE / "shop.log.gz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first = min(json.loads(line)["first_event"] for line in done.stdout.splitlines())
    endpoints = find_endpoints(read_settings())
    sender = Sender(endpoints.otlp_grpc, None, clock_s=time.monotonic, sleep_s=time.sleep, retry_for_s=1, notice=print)
    run = Replay(
        sender,
        RestClient(endpoints.rest, endpoints.api_key),
        ReplayOptions(historical=True, batch_records=1, observed_ns=0, show_max=5, score_for_s=1),
        clock_s=time.monotonic,
        sleep_s=time.sleep,
    )
    console = Console(width=WIDTH, record=True, highlight=False, force_terminal=True)
    console.print(Text("$ driftlock replay docs/examples/shop.log.gz", "bold green"))
    print_report(console, run.outcome(run.wait_scored("shop", lambda _: None), first).report)
    target = HERE.parent / "images" / "replay.svg"
    target.parent.mkdir(exist_ok=True)
    drawn = console.export_svg(title="driftlock")
    target.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL))  # nothing is fetched from elsewhere


if __name__ == "__main__":
    main()
