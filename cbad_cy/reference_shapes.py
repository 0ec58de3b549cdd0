"""Oracle of features of traces beside their own past: dictionaries and lists, one trace after another.

Tests compare; nothing else imports this. It keeps examples of any number of features, and has no parts.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from cbad_cy.judgement import Judgement
from cbad_cy.reference_shape_features import AGAIN_S, Example, Feature, seconds, share_of
from cbad_cy.reference_traces import ClosedTrace, SpanRow
from cbad_cy.shapes import ALARM_LEVEL

CLIENT, PRODUCER, KIND, ERROR, SAMPLED = 3, 4, 7, 8, 32
NO_ROOT, INCOMPLETE = 1, 1 | 2 | 16 | 32
CHILDREN = 64
LEAST = (0, 1, 2, 3, 5, 9, 17, 33)
BARE, MISSING, PRESENT = -1, 0, 1
PATH, LINES, DEPTH, KEPT = 32, 40, 16, 2

Node = tuple[int, int]
"""An operation and, of clients and producers, the one behind it (or 0)."""

Lines = list[tuple[int, int, int, int]]


@dataclass
class Visit:
    """What a node has and lacks in one trace, and where."""

    kind: int
    most: dict[Node, tuple[int, int]] = field(default_factory=dict)
    missing: dict[Node, int] = field(default_factory=dict)


@dataclass
class Link:
    """Calls from a service to another."""

    first_ns: int
    traces: int = 0
    seen: int = 0


@dataclass(frozen=True)
class Shown:
    """A trace with the node of each span, and which of them lost the other side."""

    trace: ClosedTrace
    nodes: list[Node]
    bare: list[bool]

    def example(self, at: int) -> Example:
        """The trace, with the way to a span."""
        it, path, i = self.trace, [], at
        while i >= 0:
            path.append(it.spans[i].operation)
            i = it.spans[i].parent
        path.reverse()
        if len(path) > PATH:
            path = path[: PATH // 2] + path[-PATH // 2 :]
        root, lasted = it.spans[0], max(it.end_ns - it.start_ns, 0)
        return (it.trace, it.start_ns, lasted, len(it.spans), root.operation, tuple(path), bool(root.mark & ERROR))

    def below(self, at: int, child: Node, times: int) -> Lines:
        """The first such child of a span with what is below it, siblings of one operation together."""
        spans = self.trace.spans
        lost = [bare and not row.mark & ERROR for bare, row in zip(self.bare, spans, strict=True)]
        top = next(i for i, row in enumerate(spans) if row.parent == at and self.nodes[i] == child and not lost[i])
        lines, places, depths = [[0, child[0], 1, times]], {top: 0}, {top: 0}
        of: dict[tuple[int, int], int] = {}
        for i in range(top + 1, len(spans)):
            row = spans[i]
            if row.parent < top:
                break
            if row.parent not in places or depths[row.parent] >= DEPTH:
                continue
            if (row.parent, row.operation) in of:
                lines[of[row.parent, row.operation]][3] += 1
            elif len(lines) < LINES:
                of[row.parent, row.operation] = places[i] = len(lines)
                depths[i] = depths[row.parent] + 1
                lines.append([depths[i], row.operation, 1, 1])
        return [(line[0], line[1], line[2], line[3]) for line in lines]


@dataclass
class ReferenceShapes:
    """See `cbad_cy.shapes.ShapeTable`; one trace at a time."""

    services: list[int]
    alarm_level: float = ALARM_LEVEL
    pairs_max: int = 8192
    roots_max: int = 32
    places_max: int = 65536
    edges_max: int = 131072
    features_max: int = 131072

    def __post_init__(self) -> None:
        self.traces = self.now_ns = self.overflowed = 0
        self.called: Counter[int] = Counter()
        self.senders: defaultdict[int, set[int]] = defaultdict(set)
        self.bare: dict[int, Feature] = {}
        self.loss = [0.0, 0.0]
        self.pairs: set[Node] = set()
        self.nodes: dict[Node, None] = {}
        self.roots: dict[int, None] = {}
        self.kids: dict[Node, list[Node]] = {}
        self.links: dict[tuple[int, int], Link] = {}
        self.trials: dict[tuple[int, Node], int] = {}
        self.visited_ns: dict[tuple[int, Node], int] = {}
        self.edges: set[tuple[int, Node, Node]] = set()
        self.features: dict[tuple[int, Node, Node, int], Feature] = {}
        self.told: dict[tuple[Node, Node, str], int] = {}

    def full(self, count: int, most: int, past: int = 0) -> bool:
        """A quarter of all room is for the past of all traces together."""
        full = count >= (most - most // 4 if past else most)
        self.overflowed += full
        return full

    def __len__(self) -> int:
        return len(self.features) + len(self.bare)

    # ---- reading -------------------------------------------------------------------------------------------------------

    def node(self, row: SpanRow, first: SpanRow | None) -> Node:
        """What a span does."""
        node = self.node_of(row, first)
        self.nodes[node] = None
        return node

    def node_of(self, row: SpanRow, first: SpanRow | None) -> Node:
        """The operation, with the one behind it where that is told apart."""
        if row.mark & KIND not in (CLIENT, PRODUCER) or first is None:
            return row.operation, 0
        node = row.operation, first.operation
        if node not in self.pairs:
            if self.full(len(self.pairs), self.pairs_max):
                return row.operation, 0
            self.pairs.add(node)
        return node

    def read(self, trace: ClosedTrace) -> tuple[Shown, list[Judgement]]:
        """What each span does, and which lost the other side; and what that tells."""
        children = [[row for row in trace.spans if row.parent == i] for i in range(len(trace.spans))]
        shown, told, lost = Shown(trace, [], []), list[Judgement](), bool(trace.marks & INCOMPLETE)
        for at, (row, below) in enumerate(zip(trace.spans, children, strict=True)):
            shown.nodes.append(self.node(row, below[0] if below else None))
            shown.bare.append(False)
            self.senders[row.operation] |= {row.instance} - {0}
            if row.mark & KIND not in (CLIENT, PRODUCER):
                continue
            self.called[row.operation] += 1
            if not below:
                told += [] if row.mark & ERROR else self.judge_bare(shown, at)
                shown.bare[-1] = self.is_bare(row.operation)
                lost = lost or (shown.bare[-1] and row.mark & KIND == CLIENT)
        self.loss = [share + (lost - share) / over for share, over in zip(self.loss, (128, 2048), strict=True)]
        return shown, told

    def is_bare(self, operation: int) -> bool:
        """Whether a span of it without child has lost it."""
        if self.called[operation] < 16:
            return False
        feature = self.bare.get(operation)
        odd, past = (feature.past_odd, feature.past) if feature else (0.0, float(self.called[operation]))
        return odd + 0.5 < 0.1 * (past + 1.0)

    def judge_bare(self, shown: Shown, at: int) -> list[Judgement]:
        """A client's or producer's span without child."""
        row, trial = shown.trace.spans[at], self.called[shown.trace.spans[at].operation]
        if row.operation not in self.bare:
            if self.full(len(self), self.features_max):
                return []
            self.bare[row.operation] = Feature(float(trial - 1), 0.0, trial - 1, self.now_ns)
        feature = self.bare[row.operation]
        start_ns, level = shown.trace.start_ns, self.alarm_level
        alarms = feature.occurs(trial, self.now_ns, start_ns, level, lasts="dead", lost=0.0, link_traces=0)
        feature.vote(row.instance)
        told = []
        if alarms and row.mark & KIND == CLIENT:
            pairs = [node for node in self.nodes if node[0] == row.operation and node[1] and self.trials.get((0, node))]
            gone = [node for node in pairs if self.visited_ns[0, node] < feature.from_ns]
            behind = max(gone or pairs, key=lambda node: self.trials[0, node])[1] if pairs else row.operation
            child, node = (behind, 0), (row.operation, 0)
            subtree = self.gone_below(child) if child in self.nodes else [(0, behind, -1, 1)]
            told = [self.tell(feature, node, child, BARE, trial, dead=True, example=shown.example(at), subtree=subtree)]
        self.keep(feature, shown, at)
        return told

    def keep(self, feature: Feature, shown: Shown, at: int) -> None:
        """An example of what gathers evidence."""
        if max(feature.sums) >= 0.25 * self.alarm_level:
            feature.examples = [shown.example(at), *feature.examples][:KEPT]

    def link(self, parent: Node, child: Node) -> tuple[int, int] | None:
        """The services between which it is a call."""
        ends = self.services[parent[0]], self.services[child[1] or child[0]]
        return None if ends[0] == ends[1] else ends

    def kid(self, parent: Node, child: Node) -> bool:
        """Whether it is, or has become, a child that is looked for."""
        kids = self.kids.setdefault(parent, [])
        if child not in kids:
            if len(kids) >= CHILDREN or sum(map(len, self.kids.values())) >= self.edges_max:
                self.overflowed += 1
                return False
            kids.append(child)
        if ends := self.link(parent, child):
            link = self.links.setdefault(ends, Link(self.now_ns))
            link.traces += link.seen != self.traces
            link.seen = self.traces
        return True

    def visit(self, shown: Shown) -> dict[Node, Visit]:
        """What each node has and lacks."""
        spans = shown.trace.spans
        lost = [bare and not row.mark & ERROR for bare, row in zip(shown.bare, spans, strict=True)]
        sound = not shown.trace.marks & INCOMPLETE and not any(row.mark & SAMPLED for row in spans)
        visits: dict[Node, Visit] = {}
        for i, (row, node) in enumerate(zip(spans, shown.nodes, strict=True)):
            if lost[i]:
                continue
            visit = visits.setdefault(node, Visit(row.mark & KIND))
            below = [k for k, it in enumerate(spans) if it.parent == i]
            counts = Counter(shown.nodes[k] for k in below if not lost[k])
            for child in reversed(counts):
                if self.kid(node, child) and counts[child] > visit.most.get(child, (0, 0))[0]:
                    visit.most[child] = counts[child], i
            if row.mark & ERROR or not sound:
                continue
            bare = {spans[k].operation for k in below if shown.bare[k]}
            for child in self.kids.get(node, []):
                if child not in counts and not (child[1] and child[0] in bare):
                    visit.missing.setdefault(child, i)
        return visits

    # ---- judging -------------------------------------------------------------------------------------------------------

    def take(self, trace: ClosedTrace) -> list[Judgement]:
        """Judge and learn a trace."""
        self.traces, self.now_ns = self.traces + 1, max(self.now_ns, trace.closed_ns)
        shown, told = self.read(trace)
        visits, pasts = self.visit(shown), [0]
        if not trace.marks & NO_ROOT:
            root = trace.spans[0].operation
            if root in self.roots or not self.full(len(self.roots), self.roots_max):
                self.roots[root] = None
                pasts.append(root)
        return told + [it for node, visit in visits.items() for past in pasts for it in self.judge(shown, past, node, visit)]

    def judge(self, shown: Shown, past: int, node: Node, visit: Visit) -> list[Judgement]:
        """All features of a node in one past."""
        place, told = (past, node), []
        if place not in self.trials and self.full(len(self.trials), self.places_max, past):
            return []
        self.trials[place] = self.trials.get(place, 0) + 1
        self.visited_ns[place] = self.now_ns
        for child in self.kids.get(node, []):
            edge = past, node, child
            if child in visit.missing and (*edge, PRESENT) in self.features:
                feature = self.feature(*edge, MISSING, self.trials[place] - 1)
                told += self.occurrence(shown, edge, MISSING, feature, visit, visit.missing[child])
            if child not in visit.most:
                continue
            if edge not in self.edges and self.full(len(self.edges), self.edges_max, past):
                continue
            self.edges.add(edge)
            known = (*edge, PRESENT) in self.features
            if self.feature(*edge, PRESENT, self.trials[place] - 1) is None:
                continue
            before = self.trials[place] - 1
            if not known and before:
                self.feature(*edge, MISSING, before, odd=before)
            for kind in (k for k in range(PRESENT, len(LEAST)) if visit.most[child][0] >= LEAST[k]):
                feature = self.feature(*edge, kind, self.trials[place] - 1)
                told += self.occurrence(shown, edge, kind, feature, visit, visit.most[child][1])
        return told

    def feature(self, past: int, node: Node, child: Node, kind: int, trials: int, *, odd: int = 0) -> Feature | None:
        """Of so many trials, in so many of which it occurred, if it is new; None: there is no room."""
        key = past, node, child, kind
        if key not in self.features:
            if self.full(len(self), self.features_max, past):
                return None
            self.features[key] = Feature(float(trials), float(odd), trials, self.now_ns)
        return self.features[key]

    def occurrence(
        self, shown: Shown, edge: tuple[int, Node, Node], kind: int, feature: Feature | None, visit: Visit, at: int
    ) -> list[Judgement]:
        """A feature occurs."""
        if feature is None:
            return []
        past, node, child = edge
        trial, lost = self.trials[past, node], max(self.loss) if kind == MISSING else 0.0
        dead, ends = kind == MISSING and visit.kind in (CLIENT, PRODUCER), self.link(node, child)
        traces, start_ns = self.links[ends].traces if ends else 0, shown.trace.start_ns
        lasts = "dead" if dead else "lacks" if kind == MISSING else ""
        alarms = feature.occurs(trial, self.now_ns, start_ns, self.alarm_level, lasts=lasts, lost=lost, link_traces=traces)
        feature.vote(shown.trace.spans[at].instance)
        told = []
        if alarms and self.is_news(past, node, child, kind, feature):
            subtree = self.gone_below(child) if kind == MISSING else shown.below(at, child, visit.most[child][0])
            told = [self.tell(feature, node, child, kind, trial, dead=dead, example=shown.example(at), subtree=subtree)]
        self.keep(feature, shown, at)
        return told

    def is_news(self, past: int, node: Node, child: Node, kind: int, feature: Feature) -> bool:
        """Whether nothing told it lately, since it began."""
        name = {MISSING: "missing", PRESENT: "new"}.get(kind, "repeats")
        for known in {name, "new" if name == "repeats" else name}:
            told_ns = self.told.get((node, child, known), 0)
            if told_ns and told_ns >= feature.from_ns and seconds(told_ns, self.now_ns) < AGAIN_S:
                return False
        everywhere = self.features.get((0, node, child, kind))
        raised = past and everywhere and everywhere.raised and max(everywhere.sums) > 0.0
        if everywhere and raised and seconds(everywhere.told_ns, self.now_ns) < AGAIN_S:
            return False
        self.told[node, child, name] = self.now_ns
        return True

    def gone_below(self, child: Node) -> Lines:
        """What is missing with a child: what most visits of it have."""
        waiting, lines = [(child, 0)], Lines()
        while waiting and len(lines) < LINES:
            node, depth = waiting.pop()
            lines.append((depth, node[0], -1, 1))
            for kid in reversed(self.kids.get(node, [])) if depth < DEPTH else ():
                known = self.features.get((0, node, kid, PRESENT))
                if known and known.rates()[0] >= 0.5 and len(waiting) < LINES + CHILDREN:
                    waiting.append((kid, depth + 1))
        return lines

    def is_dependency(self, feature: Feature, node: Node, child: Node, kind: int, trials: int) -> bool:
        """Whether it is a matter of calls between two services."""
        ends = self.link(node, child)
        if not ends or kind > PRESENT:
            return False
        if kind == BARE:
            return True
        link = self.links[ends]
        if kind == PRESENT:
            return link.first_ns >= min(feature.from_ns, feature.mark_ns)
        return feature.sums[-1] >= self.alarm_level and float(link.traces - feature.from_link) <= (1.0 - 0.9) * trials

    def tell(
        self,
        feature: Feature,
        node: Node,
        child: Node,
        kind: int,
        trial: int,
        *,
        dead: bool,
        example: Example,
        subtree: Lines,
    ) -> Judgement:
        """The alarm."""
        bits, trials = max(feature.sums), trial - feature.from_trial
        caller, callee = self.services[node[0]], self.services[child[1] or child[0]]
        suspects: tuple[tuple[int, float], ...] = ((callee if dead else caller, bits),)
        if kind > PRESENT and caller != callee:
            suspects = (*suspects, (callee, 0.5 * bits))
        return Judgement(
            question="dependency" if self.is_dependency(feature, node, child, kind, trials) else "shape",
            measure="repeats" if kind > PRESENT else "calls",
            caller=node[0],
            operation=child[1] or child[0],
            since_ns=feature.since_ns,
            time_ns=self.now_ns,
            p_value=share_of(bits),
            score=bits / (bits + self.alarm_level),
            surprise=bits,
            calls=trials,
            affected=feature.affected,
            value=feature.affected / trials,
            usual=feature.past_odd / feature.past if feature.past else 0.0,
            instance=feature.instance if len(self.senders[node[0]]) > 1 and feature.votes * 2 >= feature.affected else 0,
            suspects=suspects,
            calls_more=(),
            examples=(example, *feature.examples),
            subtree=tuple(subtree),
            pool=0,
        )
