"""Each input of docs/threat-model.md that can be sent: its status, its counter, its line in the log; and the server goes on."""

from typing import Any

import pytest

from driftlock.accounts.keys import Scope
from tests.threats.conftest import Watched
from tests.threats.rows import GOOD, ROWS, Row
from tests.threats.senders import Senders

module_loop = pytest.mark.asyncio(loop_scope="module")
LABELS = {"refused_requests": "reason", "rejected_records": "reason", "altered": "what"}


def counted(watched: Watched, name: str, value: str) -> float:
    samples = [sample for metric in watched.site.pipeline.telemetry.registry.collect() for sample in metric.samples]
    found = [each for each in samples if each.name == f"driftlock_{name}_total" and each.labels.get(LABELS[name]) == value]
    return sum(each.value for each in found)


def said(lines: list[dict[str, Any]], row: Row, tenant: str) -> list[dict[str, Any]]:
    """Lines about a refusal or rejection like that of the row, of the tenant; of strangers there is one a minute."""
    name, reason = row.counted or ("", "")
    what = {"refused_requests": "requests refused", "rejected_records": "records rejected"}.get(name)
    return [
        line for line in lines if line["event"] == what and line["reason"] == reason and line["tenant"] in (tenant, "unknown")
    ]


@module_loop
@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_row(watched: Watched, row: Row) -> None:
    site, listening = watched.site, watched.site.listening
    tenant = await site.tenant()
    key, read_key = await site.key(tenant), await site.key(tenant, Scope.READ)
    assert listening.otlp_grpc and listening.otlp_http and listening.rest  # noqa: PT018
    to = Senders(listening.otlp_grpc.text, listening.otlp_http.text, listening.rest.text, key, read_key)
    before = counted(watched, *row.counted) if row.counted else 0.0
    lines = len(watched.lines)
    answer = await row.send(to)
    assert (answer.status, answer.rejected, answer.retryable) == (row.status, row.rejected, row.retryable), answer.text[:500]
    if row.counted is not None:
        assert counted(watched, *row.counted) - before == (row.count or 1)
        if row.counted[0] != "altered":
            assert said(watched.lines[lines:], row, str(tenant)) or said(watched.lines, row, "unknown"), watched.lines[-5:]
    assert not [line for line in watched.lines if line["level"] in ("error", "critical")]
    ledger = await site.ledger(tenant)  # which adds up
    assert (ledger.in_journal, ledger.journaled, ledger.rejected) == (row.kept, row.kept, row.rejected)
    assert (await to.grpc(GOOD)).status == "OK"


@module_loop
async def test_no_line_of_the_log_holds_what_was_sent(watched: Watched) -> None:
    """Runs after the rows: of all that they sent nothing is in the log."""
    assert watched.lines
    text = repr(watched.lines)
    for payload in ("order placed", "garbage", "dl_live_x", "junk", "passwd", "drop table"):
        assert payload not in text
