"""Oracle of one feature of traces beside its own past, in the words of its rule: see `cbad_cy.reference_shapes`."""

import math
from dataclasses import dataclass, field

Example = tuple[bytes, int, int, int, int, tuple[int, ...], bool]

STEPS = (0.006, 0.03, 0.15, 0.6)
FALLS = tuple(-math.log2(1 - step) for step in STEPS)
FLOOR, HIGHEST = 1e-3, 0.98
COLD, BLOCK, EARLY = 32, 512, 4096
SUSPICIOUS = 7.0
BLOCK_S, ADOPT_S, DEAD_S, LACKS_S, AGAIN_S, PEAK_S, FADE_S = 600.0, 7200.0, 180.0, 45.0, 60.0, 3 * 86400.0, 1.44 * 86400.0


def bits_of(p: float) -> float:
    """-log2 p, with the roundings of logarithm.pxi."""
    m, e = math.frexp(p)
    if m < 0.75:
        m, e = m * 2.0, e - 1
    z = (m - 1.0) / (m + 1.0)
    q, total = z * z, 0.0
    for k in range(21, 0, -2):
        total = total * q + 1.0 / k
    return max(-e - 2.885390081777926814719849362 * z * total, 0.0)


def share_of(bits: float) -> float:
    """2^-bits, with the roundings of shape_alarm.pxi."""
    bits = min(bits, 1000.0)
    whole, total = int(bits), 1.0
    y = (whole - bits) * 0.693147180559945309417
    for k in range(16, 0, -1):
        total = 1.0 + y * total / k
    return math.ldexp(total, -whole)


@dataclass
class Feature:
    """The past of one feature, and the evidence against it."""

    past: float
    past_odd: float
    mark: int
    mark_ns: int
    last: int = field(init=False)
    odd: float = 0.0
    wander: float = 0.0
    blocks: float = 0.0
    peak: float = 0.0
    sums: list[float] = field(default_factory=lambda: [0.0] * len(STEPS))
    raised: bool = False
    told: bool = False
    affected: int = 0
    firm_ns: int = 0
    firm_trial: int = 0
    firm_odd: int = 0
    told_ns: int = 0
    from_trial: int = 0
    from_ns: int = 0
    from_link: int = 0
    since_ns: int = 0
    instance: int = 0
    votes: int = 0
    examples: list[Example] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.last = self.mark

    def rates(self, lost: float = 0.0) -> tuple[float, float]:
        """Share in the past; the highest that is usual where so many traces lost spans."""
        p = (self.past_odd + 0.5) / (self.past + 1.0)
        not_p = max(1.0 - p, 0.0)
        guess = 0.3 if p <= 0.05 else 0.5
        x = 3.0 * not_p * math.sqrt((24 * guess * guess + self.wander) / (24 + self.blocks))
        unknown = (2.0 * math.sqrt(self.past_odd * not_p + 1.0) + 1.0) / (self.past + 1.0)
        usual = min(max(p * (1.0 + x + 0.5 * x * x) + unknown, lost), HIGHEST)
        return p, max(usual, self.peak, FLOOR)

    def merge(self, keep: float, pending: float, before: int, now_ns: int) -> None:
        """What is pending becomes past, of which a share is kept."""
        self.past_odd, self.past = self.past_odd * keep + self.odd, self.past * keep + pending
        self.odd, self.mark, self.mark_ns = 0.0, before, now_ns

    def end_block(self, p: float, pending: float, elapsed: float) -> None:
        """How far the share wandered; its peak."""
        variance, share = p * (1.0 - p), self.odd / pending
        beyond = (share - p) * (share - p) - variance * (1.0 / pending + 1.0 / (self.past + 1.0))
        beyond = min(max(beyond / (variance * variance), 0.0) if variance > 0 else 0.0, 4.0)
        fallen = self.peak * max(1.0 - elapsed / PEAK_S, 0.0)
        self.peak = max(fallen, share - 2.0 * math.sqrt(max(share * (1.0 - share), 0.0) / pending))
        if p * pending >= 10:
            self.wander = self.wander * (1.0 - 1.0 / 288) + beyond
            self.blocks = self.blocks * (1.0 - 1.0 / 288) + 1.0

    def learn(self, p: float, before: int, now_ns: int) -> None:
        """What is pending becomes past when its time has come, and while there is no evidence."""
        pending, elapsed = float(before - self.mark), seconds(self.mark_ns, now_ns)
        calm = max(self.sums) < SUSPICIOUS
        early = self.past <= pending < EARLY and elapsed < BLOCK_S and calm
        if (self.past < COLD and pending > 0) or early:
            self.merge(1.0, pending, before, now_ns)
        elif elapsed >= BLOCK_S and pending >= BLOCK and calm:
            self.end_block(p, pending, elapsed)
            self.merge(max(0.5, 1.0 - elapsed / FADE_S), pending, before, now_ns)
        elif not calm and elapsed >= ADOPT_S and pending >= BLOCK:
            self.past_odd, self.past = 0.5 * self.past_odd / self.past * pending + self.odd, 1.5 * pending
            self.odd, self.mark, self.mark_ns, self.raised = 0.0, before, now_ns, False
            self.sums = [0.0] * len(STEPS)

    def count_usual(self, before: int, now_ns: int) -> None:
        """An occurrence of what occurs in most trials."""
        pending, elapsed = float(before - self.mark), seconds(self.mark_ns, now_ns)
        if (elapsed >= BLOCK_S and pending >= BLOCK) or self.past <= pending < EARLY:
            self.merge(max(0.5, 1.0 - elapsed / FADE_S), pending, before, now_ns)
        self.odd, self.last, self.sums = self.odd + 1.0, before + 1, [0.0] * len(STEPS)

    def occurs(
        self, trial: int, now_ns: int, start_ns: int, level: float, *, lasts: str, lost: float, link_traces: int
    ) -> bool:
        """An occurrence; whether it alarms, or does still. What `lacks`, or is `dead`, must last."""
        before, p = trial - 1, self.rates()[0]
        if p >= 0.5 and self.past >= COLD:
            self.count_usual(before, now_ns)
            return False
        passed = float(max(before - self.last, 0))
        if self.told:
            self.sums = [min(it, level) for it in self.sums]
        self.told = False
        self.sums = [max(s - passed * fall, 0.0) for s, fall in zip(self.sums, FALLS, strict=True)]
        self.raised = self.raised and max(self.sums) > 0.0
        if max(self.sums) < SUSPICIOUS:
            self.firm_ns, self.firm_trial, self.firm_odd = now_ns, before, 0
        if max(self.sums) == 0.0 or (lasts == "dead" and self.sums[-1] == 0.0):
            self.affected, self.votes, self.examples = 0, 0, []
            self.from_trial, self.from_ns, self.since_ns, self.from_link = before, now_ns, start_ns, link_traces
        self.learn(p, before, now_ns)
        usual = self.rates(lost)[1]
        self.odd, self.last, self.affected = self.odd + 1.0, trial, self.affected + 1
        self.firm_odd += 1
        if self.past < COLD:
            return False
        many = self.firm_odd >= 0.25 * (trial - self.firm_trial)
        early = lasts == "lacks" and many and seconds(self.firm_ns, now_ns) < LACKS_S
        highest = 0.75 * level if early else level + 20.0
        for j, step in enumerate(STEPS):
            gain = bits_of(usual / (usual + step * (1.0 - usual)))
            self.sums[j] = min(self.sums[j] + gain, highest)
        least = level + (12.0 if self.raised else 0.0)
        alarms = max(self.sums) >= least
        if lasts == "dead":
            alarms = self.sums[-1] >= least and seconds(self.from_ns, now_ns) >= DEAD_S
        if not alarms or early or (self.raised and seconds(self.told_ns, now_ns) < AGAIN_S):
            return False
        self.raised, self.told, self.told_ns = True, True, now_ns
        return True

    def vote(self, instance: int) -> None:
        """Boyer and Moore's majority."""
        if max(self.sums) == 0.0:
            return
        if self.votes == 0:
            self.instance = instance
        self.votes += 1 if self.instance == instance else -1


def seconds(a_ns: int, b_ns: int) -> float:
    """From a to b, or 0."""
    return float(max(b_ns - a_ns, 0)) / 1e9
