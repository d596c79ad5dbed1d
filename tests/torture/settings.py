"""What a run is made of: by environment variables, which `make torture` sets.

TORTURE_ROUNDS    of each scenario, or a share of them (10)
TORTURE_SEED      all that is random is drawn from it (chosen and printed)
TORTURE_ROUND     this round of each scenario alone: to repeat one that failed
TORTURE_LONG      1: Postgres is away for a minute, with the real lease
TORTURE_SANDBOX   of the workers; `off` where they are built with a sanitizer"""
import os
import random
import time

ROUNDS = int(os.environ.get("TORTURE_ROUNDS") or 10)
SEED = os.environ.get("TORTURE_SEED") or str(time.time_ns() // 1000 % 1000000)
ONLY = os.environ.get("TORTURE_ROUND")
LONG = os.environ.get("TORTURE_LONG") == "1"
SANDBOX = os.environ.get("TORTURE_SANDBOX")


def drawn(scenario, number):
    """The dice of a round: the same for the same seed, whatever the rounds before it drew."""
    return random.Random(f"{SEED} {scenario} {number}")


def rounds(scenario, share=1, least=1):
    """(number, dice) of each round."""
    count = max(least, round(ROUNDS * share))
    numbers = range(1, count + 1) if not ONLY else [int(ONLY)]
    return [(n, drawn(scenario, n)) for n in numbers]
