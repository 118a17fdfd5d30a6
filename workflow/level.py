"""How often sampled claims reject what is true, beside the level that they state: `make level`.

level.py JOBS    draw from known laws, and write notebooks/data/level/alarms.csv
"""

import csv
import math
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from project import ROOT, run, write
from tables import table

TABLE = ROOT / "notebooks" / "data" / "level" / "alarms.csv"
#: Replicates that are drawn at a time.
BLOCK = 2_000_000
#: A case counts if it is refused less often: where most runs are refused, those that are left are selected.
SELDOM = 0.5


@dataclass(frozen=True)
class Law:
    """A law of replicates whose mean is known."""

    mean: float
    skewness: float
    draw: Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def _log_normal(deviation: float) -> Law:
    spread = math.exp(deviation**2)
    skewness = (spread + 2) * math.sqrt(spread - 1)
    return Law(math.exp(deviation**2 / 2), skewness, lambda rng, size: rng.lognormal(0, deviation, size))


def _gamma(shape: float) -> Law:
    return Law(shape, 2 / math.sqrt(shape), lambda rng, size: rng.standard_gamma(shape, size))


LAWS = {
    "normal": Law(0.0, 0.0, lambda rng, size: rng.standard_normal(size)),
    "exponential": _gamma(1.0),
    "chi-squared": Law(1.0, math.sqrt(8), lambda rng, size: rng.standard_normal(size) ** 2),
    "gamma of shape 1/4": _gamma(0.25),
    "log-normal, 1/2": _log_normal(0.5),
    "log-normal, 1": _log_normal(1.0),
    "one in a hundred": Law(0.01, 0.98 / math.sqrt(0.0099), lambda rng, size: 1.0 * (rng.random(size) < 0.01)),
}
#: Numbers of replicates and repetitions: small samples, the fewest that a law's skewness admits, and more.
DESIGN = [
    *(("normal", count, 10_000_000) for count in (100, 400)),
    *(("exponential", count, 10_000_000) for count in (100, 400)),
    *(("log-normal, 1/2", count, 10_000_000) for count in (100, 307)),
    *(("chi-squared", count, 5_000_000) for count in (100, 800)),
    *(("gamma of shape 1/4", count, 3_000_000) for count in (100, 400, 1600)),
    *(("log-normal, 1", count, 3_000_000) for count in (100, 1000, 4000)),
    *(("one in a hundred", count, 3_000_000) for count in (100, 1000)),
]


def alarms(law: Law, count: int, repetitions: int, seed: int) -> tuple[int, int, int]:
    """Return how many repetitions there were, how many are refused, and how many of the rest are false alarms."""
    from srlib.check.sampling import LEVEL, PER_SKEWNESS, _Mean

    rng, block = np.random.default_rng([seed, count]), max(1, BLOCK // count)
    made = refused = found = 0
    with np.errstate(invalid="ignore", divide="ignore"):
        while made < repetitions:
            # Every repetition is an entry, tested at the level of a claim that compares one number.
            mean = _Mean.of(law.draw(rng, (count, block)), np.ones(block), LEVEL)
            few = PER_SKEWNESS * mean.skewness**2 > count
            made, refused = made + block, refused + int(few.sum())
            found += int(((mean.slack(np.full(block, law.mean)) < 0) & ~few).sum())
    return made, refused, found


def row(case: tuple[str, int, int]) -> dict:
    """Return one row of the table."""
    name, count, repetitions = case
    made, refused, found = alarms(LAWS[name], count, repetitions, seed=DESIGN.index(case))
    print(f"{name}, {count} replicates: {found} false alarms", file=sys.stderr)
    return {
        "law": name,
        "skewness": LAWS[name].skewness,
        "replicates": count,
        "repetitions": made,
        "refused": refused,
        "alarms": found,
    }


def interval(count: int, expected: float) -> tuple[float, float]:
    """Return the 95 % interval for the ratio of a Poisson count's mean to what was expected."""
    from scipy.stats import chi2

    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return float(low / expected), float(chi2.ppf(0.975, 2 * count + 2) / 2 / expected)


def page() -> str:
    """Return Markdown for the Claims page: every case, and those together in which few runs are refused."""
    if not TABLE.exists():
        return ""
    from srlib.check.sampling import LEVEL

    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [
        "| law (skewness) | replicates | refused | false alarms over nominal |",
        "|---|--:|--:|--:|",
    ]
    found = expected = 0.0
    for row in rows:
        made, refused, alarms = (int(row[name]) for name in ("repetitions", "refused", "alarms"))
        low, high = interval(alarms, made * LEVEL)
        share, law = 100 * refused / made, f"{row['law']} ({float(row['skewness']):.3g})"
        share = f"{share:.0f} %" if share >= 1 or not refused else f"{share:.2g} %"
        ratio, low, high = (f"{float(f'{value:.2g}'):,g}" for value in (alarms / made / LEVEL, low, high))
        lines.append(f"| {law} | {row['replicates']} | {share} | {ratio} [{low}, {high}] |")
        if refused < SELDOM * made:
            found, expected = found + alarms, expected + made * LEVEL
    low, high = interval(int(found), expected)
    lines += [
        "",
        f"False alarms of runs that are not refused, over their nominal number at the level {LEVEL:g}, with 95 % "
        f"intervals. In the cases of which less than half are refused there are, together, "
        f"{found / expected:.2f} [{low:.2f}, {high:.2f}] times as many as nominal.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with ProcessPoolExecutor(int(sys.argv[1])) as workers:
        rows = list(workers.map(row, DESIGN))
    write({TABLE: table(rows)})


if __name__ == "__main__":
    run(main)
