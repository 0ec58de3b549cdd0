"""Oracle of the rule about durations and failures of calls: dictionaries and lists, one call after another.

Tests compare; nothing else imports this. It does the same operations on doubles in the same order, so that answers are equal to
the last bit, looks everything up by its names, and has no parts.
"""

from array import array
from collections.abc import Callable
from statistics import median

from cbad_cy.calls import EXAMPLES_MAX, INSTANCES_MAX, ODD_CALLS_MAX, SUSPECTS_MAX, Judgement
from cbad_cy.reference_call_pasts import CLIENT, LAPSE_NS, Edge, Failures, OddCall, Past, Pools, SeenRow, Trace, traces_of
from cbad_cy.reference_call_rule import (
    ALL,
    ERRORS_BITS,
    GAINS,
    HITS,
    LEVEL,
    LOCAL,
    NONE,
    Histogram,
    Monitor,
    Rule,
    Seen,
    code_of,
    decay,
    doubt,
    position,
    power_of_two,
)
from cbad_cy.traces import CLOSED_EARLY, NO_ROOT, SPANS_CUT, VIRTUAL_ROOT, Closed


class ReferenceCalls:
    """What `cbad_cy.calls.CallTable` does, without its bound on edges."""

    def __init__(self, alarm_level: float = LEVEL) -> None:
        self.rule, self.alarm_level = Rule(), alarm_level
        self.pasts: dict[tuple[int, int], Past] = {}
        self.failures: dict[int, Failures] = {}
        self.services: dict[int, Pools] = {}
        self.instances: dict[tuple[int, int], Pools] = {}
        self.edges: dict[tuple[int, int], Edge] = {}
        self.populations = Histogram(), Histogram()
        self.told: list[Callable[[], Judgement]] = []

    def feed(self, closed: Closed, services: "array[int]") -> list[Judgement]:
        """Judge and learn traces one after another."""
        judgements = []
        for trace in traces_of(closed, services):
            self.rule.now_ns = max(self.rule.now_ns, trace.closed)
            self.rule.now_s = self.rule.now_ns * 1e-9
            rooted = False
            for place in range(len(trace.spans)):
                rooted = self._draw(trace, place, rooted)
                if not trace.marks & (SPANS_CUT | CLOSED_EARLY):
                    self._judge_failure(trace, place)
                    self._judge_duration(trace, place)
            judgements += [tell() for tell in self.told]
            self.told.clear()
        return judgements

    def graph(self) -> list[tuple[int, int, int, int, float, float, int, int]]:
        """Calls between services."""
        return sorted(
            (*names, e.calls, e.errors, e.quantile(0.5), e.quantile(0.99), e.first_ns, e.last_ns)
            for names, e in self.edges.items()
        )

    def _draw(self, trace: Trace, place: int, rooted: bool) -> bool:
        span, caller = trace.spans[place], 0
        start, duration, failed = span.start, span.duration, span.error
        if span.parent >= 0:
            up = trace.spans[span.parent]
            caller = up.service
            if caller == span.service:
                return rooted
            if up.kind == CLIENT:
                start, duration, failed = up.start, up.duration, span.error or up.error
        elif trace.marks & NO_ROOT or (trace.marks & VIRTUAL_ROOT and rooted):
            return rooted
        else:
            rooted = True
        edge = self.edges.setdefault((caller, span.service), Edge(start))
        edge.calls, edge.errors = edge.calls + 1, edge.errors + failed
        edge.first_ns, edge.last_ns = min(edge.first_ns, start), max(edge.last_ns, start)
        if edge.weight >= 1000.0:
            edge.bins = array("f", [it * 0.5 for it in edge.bins])
            edge.weight = float(sum(edge.bins))
        edge.bins[int(position(duration))] += 1
        edge.weight += 1
        return rooted

    def _pools(self, service: int, instance: int) -> tuple[Pools, Pools | None]:
        """Of a service, and of one of its instances if it has others."""
        of = self.services.setdefault(service, Pools())
        if not instance:
            return of, None
        if (service, instance) not in self.instances:
            if len(self.instances) == INSTANCES_MAX:
                raise NotImplementedError
            self.instances[service, instance] = Pools()
        several = sum(name[0] == service for name in self.instances) > 1
        return of, self.instances[service, instance] if several else None

    # ---- calls -----------------------------------------------------------------------------------------------------

    def _judge_failure(self, trace: Trace, place: int) -> None:
        span = trace.spans[place]
        failed = span.error and not any(trace.spans[k].error for k in trace.below(place))
        if span.operation not in self.failures:
            self.failures[span.operation] = Failures(span.operation, span.service, self.rule)
        f = self.failures[span.operation]
        of, own = self._pools(span.service, span.instance)
        said, level = ((f.rates.bad, ALL) if failed else (f.rates.good, NONE)), self.alarm_level + ERRORS_BITS
        adopted = f.monitor.watch(*said, self.rule, level)
        if failed:
            f.sender.hear(span.instance, self.rule.now_ns)
            self._keep(f.examples, trace, place, 0.0, f.rates.bad[6])
        alarmed = f.monitor.alarmed
        if adopted == 1:
            self._raise_alarm(f, f.monitor, 0)
        for pool, instance in ((of, 0), (own, span.instance)):
            if pool is not None:
                new = pool.failing.watch(*said, self.rule, level) == 1
                alarmed = alarmed or pool.failing.alarmed
                if new:
                    same = [it for _, it in sorted(self.failures.items()) if it.service == f.service]
                    self._raise_alarm(max([f, *same], key=lambda it: it.monitor.hot), pool.failing, instance)
        f.rates.learn(failed, alarmed, adopted == -1, f.monitor, self.rule)

    def _judge_duration(self, trace: Trace, place: int) -> None:
        span, below, callee = trace.spans[place], trace.foreign(place), None
        if below >= 0 and span.kind in {0, CLIENT}:
            callee = trace.spans[below]
            if span.kind == CLIENT:
                self.failures[span.operation].callee.hear(callee.service, self.rule.now_ns)
        names = span.operation, callee.operation if callee else 0
        if names not in self.pasts:
            self.pasts[names] = Past(*names, span.service, callee.service if callee else 0)
        p, population = self.pasts[names], self.populations[callee is not None]
        of, own = self._pools(span.service, span.instance)
        called_of, called = self._pools(callee.service, callee.instance) if callee else (None, None)
        at = position(trace.own_ns(place))
        self._see_slowness()
        if p.histogram.total >= 8:
            kept = decay(self.rule.now_s - of.shares_s, 8.0)
            of.shares = of.shares * kept + p.histogram.rareness(population, at - self.rule.slow)
            of.weight, of.shares_s = of.weight * kept + 1.0, self.rule.now_s
        code = code_of(p.histogram.rareness(population, at - 1.5 - self.rule.slow))
        said, odd = (GAINS[code], HITS[code]), code > 32
        p.local = p.local * decay(self.rule.now_s - p.local_s, 60.0) + LOCAL[code]
        p.local_s = self.rule.now_s
        adopted = p.monitor.watch(*said, self.rule, self.alarm_level)
        p.recent += (at - p.recent) / min(16.0, float(p.monitor.calls))
        if odd and HITS[code][p.monitor.top]:
            p.sender.hear(callee.instance if callee and called else span.instance, self.rule.now_ns)
        if odd:
            self._keep(p.examples, trace, place, at, code / 8)
        alarmed = p.monitor.alarmed
        if adopted == 1:
            p.histogram.forget_fresh()
            self._raise_alarm(p, p.monitor, 0)
        pools = [(of.own, span.service, 0)]
        pools += [(called_of.called, callee.service, 0)] if callee and called_of else []
        pools += [(own.own, span.service, span.instance)] if own else []
        pools += [(called.called, callee.service, callee.instance)] if callee and called else []
        for monitor, service, instance in pools:
            new = monitor.watch(*said, self.rule, self.alarm_level) == 1
            alarmed = alarmed or monitor.alarmed
            if new:
                p.histogram.forget_fresh()
                same = [it for it in self.pasts.values() if service in {it.service, it.callee_service}]
                self._raise_alarm(max([p, *same], key=lambda it: it.monitor.hot), monitor, instance)
        p.histogram.learn(population, at, 0.03125 if alarmed and odd else 1.0, alarmed, adopted == -1, p.monitor, self.rule)

    def _see_slowness(self) -> None:
        rule = self.rule
        if rule.now_s - rule.slow_s < 1:
            return
        rule.slow_s = rule.now_s
        heard = [it for it in self.services.values() if it.weight * decay(rule.now_s - it.shares_s, 8.0) >= 4]
        if len(heard) < 4:
            rule.slow *= 0.95
        else:
            rule.slow = min(4.0, max(0.0, rule.slow + 6.0 * (0.45 - median(it.shares / it.weight for it in heard))))

    def _keep(self, kept: list[Seen], trace: Trace, place: int, at: float, bits: float) -> None:
        now, first, span = self.rule.now_ns, trace.spans[0], trace.spans[place]
        worth = [-1.0 if now - it.seen_ns > LAPSE_NS else it.bits for it in kept]
        same = [k for k, it in enumerate(kept) if it.trace_id == trace.id]
        weakest = same[0] if same else len(kept)
        if not same and len(kept) == EXAMPLES_MAX:
            weakest = min(range(EXAMPLES_MAX), key=lambda k: (worth[k], kept[k].seen_ns))
        if weakest < len(kept) and (worth[weakest] > bits or (same and worth[weakest] == bits)):
            return
        duration = max(0, trace.end - trace.start)
        root, path = first.operation, trace.path(place)
        kept[weakest : weakest + 1] = [
            Seen(trace.id, trace.start, duration, len(trace.spans), root, path, span.error, at, bits, now)
        ]

    # ---- alarms ----------------------------------------------------------------------------------------------------

    def _raise_alarm(self, of: Past | Failures, monitor: Monitor, instance: int) -> None:
        """To be told when the trace is over, unless it was told lately."""
        now = self.rule.now_ns
        if of.told_ns and now - of.told_ns < LAPSE_NS:
            return
        of.told_ns = now
        k, reached, bar = monitor.alternative, monitor.reached, monitor.bar
        level = monitor.level(k, reached, self.rule) - (ERRORS_BITS if isinstance(of, Failures) else 0.0)
        since, numbers = monitor.since_ns[k], monitor.since(k)
        self.told.append(lambda: self._tell(of, (reached, bar, level), (since, *numbers), instance))

    def _tell(
        self, of: Past | Failures, bits: tuple[float, float, float], met: tuple[int, int, int], instance: int
    ) -> Judgement:
        reached, bar, level = bits
        top = of.monitor.top
        numbers, since = of.numbers(top, self.rule.now_ns), of.monitor.since_ns[top]
        calls, affected, value = numbers.calls, numbers.affected, numbers.value
        if of.monitor.sums[top] == 0:
            since, calls, affected = met
            if isinstance(of, Failures):
                value = affected / calls if calls else 0.0
        blamed = of.callee_service if isinstance(of, Past) and of.callee else of.service
        several = sum(name[0] == blamed for name in self.instances) > 1
        most = of.sender.votes >= max(4, of.sender.heard // 2 + 1) or (of.sender.votes and of.sender.who == instance)
        instance = of.sender.who if several and most else 0
        return Judgement(
            "latency" if isinstance(of, Past) else "errors",
            numbers.measure,
            numbers.caller,
            numbers.operation,
            min(since, self.rule.now_ns),
            self.rule.now_ns,
            min(1.0, 0.05 * power_of_two(-max(-900.0, min(900.0, level - LEVEL)))),
            0.5 + 0.5 * (reached - bar) / (reached - bar + 10.0),
            reached,
            calls,
            affected,
            value,
            numbers.usual,
            instance,
            self._suspects(self._blame_durations() if isinstance(of, Past) else self._blame_failures()),
            self._odd_calls(of),
            self._examples(of, since),
            (),
        )

    def _blame_durations(self) -> dict[int, float]:
        found = self._blame_failures()
        for number, of in self.services.items():
            found[number] += of.own.hot + 2.0 * of.called.hot
        for p in self.pasts.values():
            normal = p.local * decay(self.rule.now_s - p.local_s, 60.0)
            bits = doubt(max(p.monitor.hot - 4.0, min(normal, 0.0)))
            found[p.service] += bits
            if p.callee:
                found[p.callee_service] += bits
        return found

    def _blame_failures(self) -> dict[int, float]:
        found, own = dict.fromkeys(self.services, 0.0), dict.fromkeys(self.services, 0.0)
        for _, f in sorted(self.failures.items()):
            if f.monitor.hot > 4.0:
                bits, callee = f.monitor.hot - 4.0, f.callee.who
                own[f.service] += bits
                found[f.service] += bits * 0.75 if callee else bits
                if callee:
                    found[callee] += bits
        for number, of in self.services.items():
            found[number] += max(0.0, of.failing.hot - 4.0 - own[number])
        return found

    def _suspects(self, found: dict[int, float]) -> tuple[tuple[int, float], ...]:
        ranked = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
        return tuple(pair for pair in ranked if pair[1] > 0)[:SUSPECTS_MAX]

    def _odd_calls(self, of: Past | Failures) -> tuple[OddCall, ...]:
        others: list[Past | Failures] = [*self.pasts.values(), *(f for _, f in sorted(self.failures.items()))]
        found = [it.numbers(it.monitor.top, self.rule.now_ns) for it in others if it is not of and it.monitor.hot > 8.0]
        return tuple(it.row() for it in sorted(found, key=lambda it: -it.bits)[:ODD_CALLS_MAX])

    def _examples(self, of: Past | Failures, since: int) -> tuple[SeenRow, ...]:
        now = self.rule.now_ns
        found = [it for it in of.examples if it.seen_ns >= since and now - it.seen_ns <= LAPSE_NS]
        return tuple(it.row() for it in sorted(found, key=lambda it: (-it.bits, now - it.seen_ns)))
