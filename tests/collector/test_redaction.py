"""Redaction at decoding: what rules find is in nothing that a request leaves behind, stream by stream."""

from array import array
from collections.abc import Mapping
from uuid import UUID

import pytest

from collector.otlp.decode import Decoded, decode
from collector.otlp.export import request_hash
from collector.otlp.limits import OtlpLimits
from collector.otlp.redaction import redacted_series
from collector.redact import StreamRules
from collector.routing import ResourceRouter
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.redaction import GROWTH_BYTES_MAX, Redactor, Rule, TenantRules
from driftlock.errors import Unavailable
from tests.collector.fakes import TENANT, bench
from tests.collector.otlp_requests import log, logs, spans
from tests.collector.test_export import SENDER, send
from tests.collector.test_series_identity import gauge, request
from tests.collector.test_traces import call, resource

KEY = bytes(range(32))
MAIL, USER = Rule("mail", kind="email"), Rule("user", "attribute:user", action="drop")


def rules(*tenant: Rule, **streams: Rule) -> TenantRules:
    return TenantRules(tenant, {StreamKey(Signal.LOGS, name): (rule,) for name, rule in streams.items()}, KEY)


def said(decoded: Decoded) -> str:
    """All that would be journaled."""
    batches = [part.batch for part in decoded.batches]
    return repr([(each.text, each.series, each.instances, each.versions) for each in batches])


def of(body: bytes, signal: Signal, with_rules: StreamRules | None) -> Decoded:
    return decode(body, signal, OtlpLimits(), ResourceRouter(), with_rules)


def test_rules_of_a_stream_hold_in_that_stream_alone() -> None:
    line = log("from bob@x.de", attributes={"user": "bob", "z": 1})
    body = b"".join(logs(line, log("plain"), resource={"service.name": name}).SerializeToString() for name in ("a", "b"))
    decoded = of(body, Signal.LOGS, rules(MAIL, a=USER))
    texts = {part.key.service: [each.decode() for each in part.batch.lines()] for part in decoded.batches}
    assert texts == {"a": ["from [mail] z=1", "plain"], "b": ["from [mail] user=bob z=1", "plain"]}
    assert decoded.redacted == 2
    untouched = of(body, Signal.LOGS, rules(a=USER))
    assert untouched.redacted == 1
    assert of(body, Signal.LOGS, None).redacted == 0


def test_names_of_instances_and_versions_are_redacted() -> None:
    body = logs(log("x"), resource={"service.name": "a", "host.name": "bob@x.de", "service.version": "v-eve@x.de"})
    decoded = of(body.SerializeToString(), Signal.LOGS, rules(MAIL))
    assert decoded.batches[0].batch.instances == ("[mail]",)
    assert decoded.batches[0].batch.versions == ("[mail]",)


def test_series_scopes_and_texts_of_metrics_are_redacted() -> None:
    body = request(("lib-bob@x.de", "m", gauge({"k": "eve@x.de", "n": 1})))
    decoded = of(body, Signal.METRICS, rules(MAIL))
    assert decoded.batches[0].batch.series == ("x{k=[mail],n=1}\x1f[mail]\x1fg\x1fsi",)
    assert "@" not in said(decoded)


def test_series_that_become_equal_are_one() -> None:
    redactor = Redactor([MAIL], KEY)
    found = redacted_series(["a{k=x@y}\x1fi", "b\x1fx@y", "a{k=v@w}\x1fi"], [9, 1, 9], array("I", [1, 2, 3, 1]), redactor)
    assert found == (("a{k=[mail]}\x1fi", "b\x1fx@y"), array("I", [1, 2, 1, 1]))


def test_operations_are_redacted_with_the_rules_of_their_services_texts() -> None:
    """The names of spans stand among the traces of an environment, where no rule of a service's stream would find them."""
    body = spans(call("GET bob@x.de"), resource=resource("cart")).SerializeToString()
    texts, traces = (part.key for part in of(body, Signal.TRACES, None).batches)
    cart = TenantRules((), {texts: (MAIL,)}, KEY)
    decoded = of(body, Signal.TRACES, cart)
    assert "@" not in said(decoded)
    assert "GET [mail]" in decoded.batches[-1].batch.series[0]
    of_traces = of(body, Signal.TRACES, TenantRules((), {traces: (MAIL,)}, KEY))
    assert [b"@" in part.batch.text or "@" in repr(part.batch.series) for part in of_traces.batches] == [True, False]
    other = TenantRules((), {StreamKey(Signal.TRACES, "till"): (MAIL,)}, KEY)
    assert "@" in said(of(body, Signal.TRACES, other))


def test_equal_values_stay_equal_and_tell_nothing() -> None:
    hashed = rules(Rule("mail", kind="email", action="hash"))
    body = logs(log("a bob@x.de"), log("b bob@x.de"), log("c eve@x.de")).SerializeToString()
    marks = [line.split(b" ")[1] for line in of(body, Signal.LOGS, hashed).batches[0].batch.lines()]
    assert marks[0] == marks[1] != marks[2]
    assert len(marks[0]) == len(b"[mail:0123456789abcdef]")
    other = TenantRules((Rule("mail", kind="email", action="hash"),), {}, bytes(32))
    assert of(body, Signal.LOGS, other).batches[0].batch.text.split(b" ")[1] != marks[0]


def test_a_record_that_would_grow_for_ever_is_cut_and_counted() -> None:
    rule = Rule("a-name-that-is-longer-than-values", "attribute:*")
    rule = Rule(rule.name[:32], rule.where)
    body = logs(log("x", attributes={f"k{n:03}": "v" for n in range(128)})).SerializeToString()
    decoded = of(body, Signal.LOGS, rules(rule))
    assert decoded.cuts.truncated == 0
    many = " ".join(f"k{n}=v" for n in range(1000))
    decoded = of(logs(log(many)).SerializeToString(), Signal.LOGS, rules(rule))
    assert decoded.cuts.truncated == 1
    assert len(decoded.batches[0].batch.text) == len(many) + GROWTH_BYTES_MAX


class Fixed:
    """Rules of some tenants, or an error."""

    def __init__(self, tenants: Mapping[UUID, TenantRules], error: Exception | None = None) -> None:
        self.tenants, self.error = tenants, error

    async def rules(self, tenant_id: UUID) -> TenantRules | None:
        if self.error is not None:
            raise self.error
        return self.tenants.get(tenant_id)


async def test_requests_are_decoded_with_the_rules_of_their_tenant() -> None:
    body = logs(log("from bob@x.de"), log("plain")).SerializeToString()
    for tenant_id, kept, counted in ((TENANT, b"from [mail]", 1), (UUID(int=9), b"from bob@x.de", 0)):
        async with bench(redaction=Fixed({tenant_id: rules(MAIL)})) as parts:
            assert await send(parts, body) == b""
            (submission,) = parts.intake.submissions
            assert next(iter(submission.batches[0].batch.lines())) == kept
            assert parts.meter.counts["logs", "altered", "redacted"] == counted
            assert submission.request_hash == request_hash(SENDER, Signal.LOGS, body)  # a resend is known by its bytes


async def test_nothing_is_taken_while_rules_are_not_known() -> None:
    async with bench(redaction=Fixed({}, Unavailable("the database is away"))) as parts:
        with pytest.raises(Unavailable):
            await send(parts, logs(log("from bob@x.de")).SerializeToString())
        assert parts.intake.submissions == []
        assert (parts.admission.requests, parts.admission.bytes) == (0, 0)
