"""Oracle of the rule about durations and failures of calls: dictionaries and lists, one call after another.

Tests compare; nothing else imports this. It does the same operations on doubles in the same order, so that answers are equal to
the last bit, looks everything up by its names, and has no parts.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

from cbad_cy.calls import EXAMPLES_MAX, INSTANCES_MAX, ODD_CALLS_MAX, SUSPECTS_MAX
from cbad_cy.judgement import Judgement
from cbad_cy.reference_call_pasts import CLIENT, LAPSE_NS, Edge, Failures, OddCall, Past, Pools, SeenRow, Trace, traces_of
from cbad_cy.reference_call_rule import (
    AGAIN_NS,
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

ITSELF, SERVICE, CALLED = range(3)


@dataclass(frozen=True)
class Whose:
    """Whose calls alarm: of an operation or edge, all that a service makes, or all that come to it; maybe of one instance.

    `usual` is the share of them that failed before.
    """

    pool: int
    service: int = 0
    instance: int = 0
    usual: float = 0.0

    def makes(self, it: Past | Failures) -> bool:
        """Whether these are among them."""
        return self.service == (it.callee_service if self.pool == CALLED and isinstance(it, Past) else it.service)

    def of(self, seen: Seen) -> int:
        """The instance of a trace that shows it."""
        return seen.called if self.pool == CALLED else seen.instance


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
            self._keep(f.examples, self._seen(trace, place, 0.0, f.rates.bad[6]))
        alarmed, shown = f.monitor.alarmed, self._seen(trace, place, 0.0, f.rates.bad[6])
        if adopted > 0:
            self._raise_alarm(f, f.monitor, Whose(ITSELF), shown)
        for pool, instance in ((of, 0), (own, span.instance)):
            if pool is not None:
                new = pool.failing.watch(*said, self.rule, level) > 0
                pool.count(failed)
                alarmed = alarmed or pool.failing.alarmed
                if new:
                    same = [it for _, it in sorted(self.failures.items()) if it.service == f.service]
                    whose = Whose(SERVICE, f.service, instance, pool.usual)
                    self._raise_alarm(max([f, *same], key=lambda it: it.monitor.hot), pool.failing, whose, shown)
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
        p.count(at, HITS[code])
        if odd and HITS[code][p.monitor.told]:
            p.sender.hear(callee.instance if callee and called else span.instance, self.rule.now_ns)
        shown = self._seen(trace, place, at, code / 8)
        if odd:
            self._keep(p.examples, shown)
        alarmed = p.monitor.alarmed
        if adopted == 1:
            p.histogram.forget_fresh()
        if adopted > 0:
            self._raise_alarm(p, p.monitor, Whose(ITSELF), shown)
        pools = [(of.own, Whose(SERVICE, span.service))]
        pools += [(called_of.called, Whose(CALLED, callee.service))] if callee and called_of else []
        pools += [(own.own, Whose(SERVICE, span.service, span.instance))] if own else []
        pools += [(called.called, Whose(CALLED, callee.service, callee.instance))] if callee and called else []
        for monitor, whose in pools:
            new = monitor.watch(*said, self.rule, self.alarm_level)
            alarmed = alarmed or monitor.alarmed
            if new == 1:
                p.histogram.forget_fresh()
            if new > 0:
                same = [it for it in self.pasts.values() if whose.makes(it)]
                self._raise_alarm(max([p, *same], key=lambda it: it.monitor.hot), monitor, whose, shown)
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

    def _seen(self, trace: Trace, place: int, at: float, bits: float) -> Seen:
        first, span, below = trace.spans[0], trace.spans[place], trace.foreign(place)
        duration, called = max(0, trace.end - trace.start), trace.spans[below].instance if below >= 0 else 0
        return Seen(
            trace_id=trace.id,
            start_ns=trace.start,
            duration_ns=duration,
            spans=len(trace.spans),
            root=first.operation,
            path=trace.path(place),
            error=span.error,
            instance=span.instance,
            called=called,
            at=at,
            bits=bits,
            seen_ns=self.rule.now_ns,
        )

    def _keep(self, kept: list[Seen], seen: Seen) -> None:
        worth = [-1.0 if self.rule.now_ns - it.seen_ns > LAPSE_NS else it.bits for it in kept]
        same = [k for k, it in enumerate(kept) if it.trace_id == seen.trace_id]
        weakest = same[0] if same else len(kept)
        if not same and len(kept) == EXAMPLES_MAX:
            weakest = min(range(EXAMPLES_MAX), key=lambda k: (worth[k], kept[k].seen_ns))
        if weakest < len(kept) and (worth[weakest] > seen.bits or (same and worth[weakest] == seen.bits)):
            return
        kept[weakest : weakest + 1] = [seen]

    # ---- alarms ----------------------------------------------------------------------------------------------------

    def _raise_alarm(self, of: Past | Failures, monitor: Monitor, whose: Whose, shown: Seen) -> None:
        """To be told when the trace is over, unless it was told lately."""
        now = self.rule.now_ns
        if of.told_ns and now - of.told_ns < AGAIN_NS:
            return
        of.told_ns = now
        reached, bar = monitor.reached, monitor.bar
        level = monitor.level(monitor.alternative, reached, self.rule) - (ERRORS_BITS if isinstance(of, Failures) else 0.0)
        since = monitor.since_ns[monitor.told], *monitor.since(monitor.told)
        self.told.append(lambda: self._tell(of, (reached, bar, level), since, whose, shown))

    def _tell(
        self, of: Past | Failures, bits: tuple[float, float, float], met: tuple[int, int, int], whose: Whose, shown: Seen
    ) -> Judgement:
        reached, bar, level = bits
        numbers, against = of.numbers(self.rule.now_ns), self._blame_failures()
        if isinstance(of, Past):
            against = self._blame_durations()
        own: tuple[OddCall, ...] = ()
        if whose.pool and numbers.bits < 0.5 * reached:
            own = (numbers.row(),)
            if not whose.instance:
                whose, met = self._narrowed(of, reached, met, whose)
            numbers = replace(numbers, since_ns=met[0], calls=met[1], affected=met[2])
            if isinstance(of, Failures):
                numbers = replace(numbers, value=met[2] / met[1] if met[1] else 0.0, usual=whose.usual)
            kept = [
                seen
                for it in (self.pasts.values() if isinstance(of, Past) else self._failures())
                if whose.makes(it)
                for seen in it.examples
                if not whose.instance or whose.instance == whose.of(seen)
            ]
        else:
            whose, kept = Whose(ITSELF, 0, self._sender(of, whose.instance)), of.examples
        if whose.pool and isinstance(of, Past):
            against[whose.service] = max(against[whose.service], reached)
        return Judgement(
            "latency" if isinstance(of, Past) else "errors",
            numbers.measure,
            numbers.caller,
            numbers.operation,
            min(numbers.since_ns, self.rule.now_ns),
            self.rule.now_ns,
            min(1.0, 0.05 * power_of_two(-max(-900.0, min(900.0, level - LEVEL)))),
            0.5 + 0.5 * (reached - bar) / (reached - bar + 10.0),
            reached,
            numbers.calls,
            numbers.affected,
            numbers.value,
            numbers.usual,
            whose.instance,
            self._suspects(against),
            (*own, *self._odd_calls(of))[:ODD_CALLS_MAX],
            self._examples(shown, kept, numbers.since_ns),
            (),
            whose.pool,
        )

    def _narrowed(
        self, of: Past | Failures, reached: float, met: tuple[int, int, int], whose: Whose
    ) -> tuple[Whose, tuple[int, int, int]]:
        """An instance of a service, if nearly all affected calls are of it."""
        pools = {name[1]: it for name, it in self.instances.items() if name[0] == whose.service}
        most, found = met[2] - met[2] // 4, (whose, met)
        for instance, it in pools.items() if len(pools) > 1 else ():
            monitor = it.failing if isinstance(of, Failures) else it.own if whose.pool == SERVICE else it.called
            affected = monitor.since(monitor.told)[1]
            if monitor.hot_lately(self.rule.now_s) >= 0.5 * reached and affected >= most > 0:
                most, since = affected + 1, monitor.since_ns[monitor.told]
                found = replace(whose, instance=instance, usual=it.usual), (since, *monitor.since(monitor.told))
        return found

    def _failures(self) -> list[Failures]:
        return [f for _, f in sorted(self.failures.items())]

    def _sender(self, of: Past | Failures, instance: int) -> int:
        """Of which instance the affected calls are."""
        blamed = of.callee_service if isinstance(of, Past) and of.callee else of.service
        several = sum(name[0] == blamed for name in self.instances) > 1
        most = of.sender.votes >= max(4, of.sender.heard // 2 + 1) or (of.sender.votes and of.sender.who == instance)
        return of.sender.who if several and most else 0

    def _heat(self, service: int, of: Callable[[Pools], Monitor]) -> float:
        """The highest sum of a service, as a whole or on one instance."""
        heard = [of(it).hot_lately(self.rule.now_s) for name, it in self.instances.items() if name[0] == service]
        return max([of(self.services[service]).hot, *heard])

    def _blame_durations(self) -> dict[int, float]:
        found = self._blame_failures()
        for number in self.services:
            found[number] += self._heat(number, lambda it: it.own) + 2.0 * self._heat(number, lambda it: it.called)
        for p in self.pasts.values():
            normal = p.local * decay(self.rule.now_s - p.local_s, 60.0)
            bits = doubt(max(p.monitor.hot - 4.0, min(normal, 0.0)))
            found[p.service] += bits
            if p.callee:
                found[p.callee_service] += bits
        return found

    def _blame_failures(self) -> dict[int, float]:
        found, own = dict.fromkeys(self.services, 0.0), dict.fromkeys(self.services, 0.0)
        for f in self._failures():
            if f.monitor.hot > 4.0:
                bits, callee = f.monitor.hot - 4.0, f.callee.who
                own[f.service] += bits
                found[f.service] += bits * 0.75 if callee else bits
                if callee:
                    found[callee] += bits
        for number in self.services:
            found[number] += max(0.0, self._heat(number, lambda it: it.failing) - 4.0 - own[number])
        return found

    def _suspects(self, found: dict[int, float]) -> tuple[tuple[int, float], ...]:
        ranked = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
        return tuple(pair for pair in ranked if pair[1] > 0)[:SUSPECTS_MAX]

    def _odd_calls(self, of: Past | Failures) -> list[OddCall]:
        others: list[Past | Failures] = [*self.pasts.values(), *self._failures()]
        found = [it.numbers(self.rule.now_ns) for it in others if it is not of and it.monitor.hot > 8.0]
        return [it.row() for it in sorted(found, key=lambda it: -it.bits)]

    def _examples(self, shown: Seen, kept: list[Seen], since: int) -> tuple[SeenRow, ...]:
        now, places = self.rule.now_ns, [shown]
        for it in kept:
            if it.seen_ns < since or now - it.seen_ns > LAPSE_NS:
                continue
            same = [k for k, other in enumerate(places) if other.trace_id == it.trace_id]
            if same or len(places) == EXAMPLES_MAX:
                weakest = same[0] if same else min(range(EXAMPLES_MAX), key=lambda k: places[k].bits)
                if it.bits > places[weakest].bits:
                    places[weakest] = it
            else:
                places.append(it)
        return tuple(it.row() for it in sorted(places, key=lambda it: (-it.bits, now - it.seen_ns)))
