"""The table at the end: what was done in each scenario, and what it cost."""
import settings

ALL = []  # Counts of each scenario, in their order


def lines():
    if not ALL:
        return []
    out = [f"TORTURE_SEED={settings.SEED} TORTURE_ROUNDS={settings.ROUNDS}", "",
           f"{'':10}{'jobs':>6}{'attempts':>10}{'rescues':>9}{'failures':>10}{'handed over':>13}{'published MB':>14}{'wasted':>8}{'s':>7}"]
    for c in ALL:
        wasted = f"{c.sent_bytes / c.published_bytes - 1:.2f}" if c.published_bytes else "-"
        out.append(f"{c.scenario:10}{c.jobs:6}{c.attempts:10}{c.rescues:9}{c.failures:10}{c.handed_over:13}"
                   f"{c.published_bytes / 1e6:14.1f}{wasted:>8}{c.seconds:7.1f}")
    out += ["", "wasted: bytes that reached the S3 server (requests in all), less the published ones, over the published ones"]
    return out + [f"{c.scenario}: " + ", ".join(f"{n} {what}" for what, n in sorted(c.done.items())) for c in ALL]
