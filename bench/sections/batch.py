"""Batches of 100 tokens: what a token in them costs beside its signature.

The daemon is as it ships, audit and all, but for limits that one caller would meet. A few connections are
kept open, and each asks for the next batch as soon as it has one: a caller that has much to sign.
"""

from harness import Bench, KeySet, Row, median, ratio

SECTION = "batch"

# Of raw, for each algorithm: what the issue of this bench asked for.
OF_RAW = {"RS256": 0.90, "ES256": 0.90, "EdDSA": 0.80}
SIZE = 100
CONNECTIONS = 4


def run(bench: Bench) -> list[Row]:
    keysets = [KeySet(algorithm.lower(), algorithm) for algorithm in OF_RAW]
    with bench.daemon(keysets) as daemon:
        daemon.settle(keysets)

        def batches(algorithm: str, seconds: float) -> dict:
            options = ("--batch", str(SIZE), "--connections", str(CONNECTIONS))
            path = f"/v1/keysets/{algorithm.lower()}/tokens/batch"
            return bench.load(daemon.unix, path, *options, body=bench.wish(), seconds=seconds)

        cases = {}
        for algorithm in OF_RAW:
            batches(algorithm, 0.5)
            cases[f"{algorithm} raw"] = lambda algorithm=algorithm: bench.raw(algorithm)
            cases[algorithm] = lambda algorithm=algorithm: bench.per_cpu_second(
                daemon.cpu_seconds, lambda: batches(algorithm, bench.seconds))
        found = bench.interleaved(cases)
    return [row(algorithm, found[algorithm], found[f"{algorithm} raw"], goal) for algorithm, goal in OF_RAW.items()]


def row(algorithm: str, tokens: list[float], raw: list[float], goal: float) -> Row:
    against = f"aws-lc-rs alone: {median(raw):,.0f}/CPU-s"
    return Row.at_least(SECTION, f"{algorithm}, batches of {SIZE}", f"{median(tokens):,.0f}/CPU-s", against,
                        ratio(tokens, raw), goal)
