"""Protocol 2: which HDFS blocks are anomalous.

"best F1" is at the threshold that is best for the labels; at 1 % the threshold comes from normal sessions alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import ModuleType

from bench.quality.figures import Figure
from bench.quality.interactions import watched
from bench.quality.measures import Floats, Ranking, interval, run_weights, threshold_at
from bench.quality.session_references import Session, session_references
from bench.quality.streams import masked
from bench.quality.windows import Ours, profiles

SPLITS = ((0.2, 0.1), (0.1, 0.1), (0.4, 0.1))  # shares of blocks for training and for the threshold; the rest is scored
FALSE_RATE = 0.01
RESAMPLES = 500
PROTOCOL = "2 sessions"
NEIGHBOURS = 20  # blocks that are drawn together, in order of their first lines
START_EVENTS = 5000
GROUP_BY = "text:blk_"
INTERACTIONS = "driftlock interactions"
RECENT_SESSIONS = 1000


@dataclass(frozen=True, slots=True)
class Corpus:
    """The stream and its sessions, by first line; `owner[i]` is the session of line i, `times_ns[i]` its time."""

    lines: list[bytes]
    times_ns: list[int]
    owner: list[int]
    sessions: list[Session]


def corpus(data: ModuleType, blocks: int | None) -> Corpus:
    """The whole HDFS sample, or its first `blocks` blocks with all their lines."""
    numbers: dict[str, int] = {}
    lines, times_ns, owner, labels = [], [], [], {}
    for time_s, text, label, block in data.hdfs_lines():
        number = numbers.setdefault(block, len(numbers))
        if blocks is None or number < blocks:
            lines.append(text.encode())
            times_ns.append(round(time_s * 1e9))
            owner.append(number)
            labels[number] = label
    members: list[list[int]] = [[] for _ in labels]
    for place, number in enumerate(owner):
        members[number].append(place)
    forms = masked(lines)
    sessions = [
        Session(tuple(lines[i] for i in at), tuple(forms[i] for i in at), labels[number], at[0], at[-1])
        for number, at in enumerate(members)
    ]
    return Corpus(lines, times_ns, owner, sessions)


def our_scores(known: Corpus, codec: str, skip: frozenset[int]) -> dict[str, list[float]]:
    """Score of every session by the bits of its lines in the one stream of all lines; sessions in `skip` are not in it."""
    places = [place for place, number in enumerate(known.owner) if number not in skip]
    bits = Ours(profiles((codec,))[codec]).event_bits([known.lines[place] for place in places])
    highest, total = [0.0] * len(known.sessions), [0.0] * len(known.sessions)
    for place, cost in zip(places, bits, strict=False):  # the last few events belong to no window yet
        number = known.owner[place]
        highest[number] = max(highest[number], cost)
        total[number] += cost
    return {f"driftlock {codec}, dearest line": highest, f"driftlock {codec}, sum of lines": total}


def interaction_scores(known: Corpus, skip: frozenset[int]) -> tuple[list[float], list[float]]:
    """Score of every session as one interaction of the stream, and 1 if it alarmed at 1 %; sessions in `skip` are not in it.

    The stream is told only how a key begins. It decides by its own p-values, so no threshold is set here.
    """
    places = [place for place, number in enumerate(known.owner) if number not in skip]
    lines, times_ns = [known.lines[place] for place in places], [known.times_ns[place] for place in places]
    found = watched(lines, times_ns, GROUP_BY, FALSE_RATE)
    scores, alarms = [0.0] * len(known.sessions), [0.0] * len(known.sessions)
    for first, score in found.scores.items():
        scores[known.owner[places[first]]] = score
    for first in found.alarmed:
        alarms[known.owner[places[first]]] = 1.0
    return scores, alarms


@dataclass(frozen=True, slots=True)
class Scored:
    """Labelled scores of one detector, and the threshold it set without labels; one of each for every draw of its chance."""

    rankings: Sequence[Ranking]
    limits: Sequence[float]


def judged(condition: str, detector: str, best: Scored, decided: Scored, weights: Sequence[Floats]) -> Iterator[Figure]:
    """Figures of one detector: `best` for its threshold that knows the labels, `decided` for the one that does not.

    Where chance is involved the value is the mean over its draws, and the interval covers it.
    """

    def figure(measure: str, scored: Scored, value: Callable[[Ranking, float, Floats | None], float]) -> Figure:
        pairs = list(zip(scored.rankings, scored.limits, strict=True))
        drawn = [value(ranking, limit, weight) for ranking, limit in pairs for weight in weights[:: len(pairs)]]
        mean = fmean(value(ranking, limit, None) for ranking, limit in pairs)
        return Figure(PROTOCOL, condition, "HDFS", detector, measure, mean, *interval(drawn), count=len(weights[0]))

    yield figure("best F1", best, lambda ranking, _, weight: ranking.best_f1(weight))
    yield figure("F1 at 1 %", decided, lambda ranking, limit, weight: ranking.at(limit, weight)[0])
    yield figure("real FPR", decided, lambda ranking, limit, weight: ranking.at(limit, weight)[1])
    yield figure("AUROC", best, lambda ranking, _, weight: ranking.auroc(weight))


def split_figures(known: Corpus, codecs: Sequence[str], train: float, check: float) -> Iterator[Figure]:
    """Chronological by first line: normal blocks to learn from, normal blocks for the threshold, the rest scored."""
    sessions, count = known.sessions, len(known.sessions)
    first, second = round(train * count), round((train + check) * count)
    labels = [session.label for session in sessions[second:]]
    weights = run_weights(len(labels), NEIGHBOURS, RESAMPLES, seed=2)
    name = f"normal blocks only, {100 * train:.0f}/{100 * check:.0f}/{100 * (1 - train - check):.0f}"
    normal = [number for number in range(first, second) if not sessions[number].label]
    skip = frozenset(number for number in range(second) if sessions[number].label)
    scores, alarms = interaction_scores(known, skip)
    decided = Scored([Ranking(alarms[second:], labels)], [0.5])
    yield from judged(name, INTERACTIONS, Scored([Ranking(scores[second:], labels)], [0.0]), decided, weights)
    for codec in codecs:
        for detector, scores in our_scores(known, codec, skip).items():
            limit = threshold_at([scores[number] for number in normal], FALSE_RATE)
            scored = Scored([Ranking(scores[second:], labels)], [limit])
            yield from judged(name, detector, scored, scored, weights)
    for detector, makers in session_references(streaming=False).items():
        rankings, limits = [], []
        for make in makers:
            reference = make()
            for session in sessions[:first]:
                if not session.label:
                    reference.learn(session)
            limits.append(threshold_at([reference.score(sessions[number]) for number in normal], FALSE_RATE))
            rankings.append(Ranking([reference.score(session) for session in sessions[second:]], labels))
        scored = Scored(rankings, limits)
        yield from judged(name, detector, scored, scored, weights)


def streaming_figures(known: Corpus, codecs: Sequence[str]) -> Iterator[Figure]:
    """No training: every session is scored when its last line is there, then learned, whatever it was.

    The alarm threshold is the 99 % quantile of the 1,000 sessions before, anomalies among them: nobody said which they are.
    Interactions decide by themselves, at the ages they choose; those that are open at the end are closed and judged then.
    """
    order = sorted(range(len(known.sessions)), key=lambda number: known.sessions[number].last)
    scored = [place for place, number in enumerate(order) if known.sessions[number].first >= START_EVENTS]
    labels = [known.sessions[order[place]].label for place in scored]
    weights = run_weights(len(labels), NEIGHBOURS, RESAMPLES, seed=3)
    scores, own = interaction_scores(known, frozenset())
    ranked = Ranking([scores[order[place]] for place in scored], labels)
    decided = Scored([Ranking([own[order[place]] for place in scored], labels)], [0.5])
    yield from judged("streaming", INTERACTIONS, Scored([ranked], [0.0]), decided, weights)
    series: dict[str, list[float]] = {}
    for codec in codecs:
        for detector, scores in our_scores(known, codec, frozenset()).items():
            series[detector] = [scores[number] for number in order]
    for detector, [make] in session_references(streaming=True).items():
        reference, values = make(), []
        for number in order:
            values.append(reference.score(known.sessions[number]))
            reference.learn(known.sessions[number])
        series[detector] = values
    for detector, values in series.items():
        limits = [threshold_at(values[max(0, place - RECENT_SESSIONS) : place], FALSE_RATE) for place in scored]
        alarms = [float(values[place] > limit) for place, limit in zip(scored, limits, strict=True)]
        best = Scored([Ranking([values[place] for place in scored], labels)], [0.0])
        yield from judged("streaming", detector, best, Scored([Ranking(alarms, labels)], [0.5]), weights)


def figures(data: ModuleType, codecs: Sequence[str], *, quick: bool) -> Iterator[Figure]:
    """The table."""
    known = corpus(data, 4000 if quick else None)
    for train, check in SPLITS[:1] if quick else SPLITS:
        yield from split_figures(known, codecs, train, check)
    yield from streaming_figures(known, codecs)
