"""What a PostgreSQL executed for the program, by its own log: all of it, also what only sets or locks.

    with Postgres(settings=StatementLog.SETTINGS) as server:
        log = StatementLog(server, database, {"POLL": "SELECT ...", ...})   # texts that have a name
        before = log.read(); ...; log.read() - before                       # Counter of (name, kind of statement) pairs
"""

import collections
import re


class StatementLog:
    SETTINGS = {"log_statement": "all", "log_line_prefix": "%a@%d %p "}

    def __init__(self, server, database, names):
        self.server, self.names = server, {text: name for name, text in names.items()}
        self.line = re.compile(rf"^downloads-server@{database} (\d+) LOG:  (?:execute|statement).*?: (.*)$", re.MULTILINE)

    def read(self):
        """By (call, statement): what sets and locks ahead of a call is that call's, too; `call` is "" for what stands alone."""
        with open(self.server.log, encoding="utf-8", errors="replace") as f:
            found = self.line.findall(f.read())
        counts, ahead = collections.Counter(), collections.defaultdict(list)
        for pid, text in found:
            name = self.names.get(text)
            if not name:
                ahead[pid].append(text.split("(")[0].split(",")[0][:40].strip())
                continue
            for statement in ahead.pop(pid, []):
                counts[(name, statement)] += 1
            counts[(name, name)] += 1
        for statements in ahead.values():
            for statement in statements:
                counts[("", statement)] += 1
        return counts


def by_call(counts):
    total = collections.Counter()
    for (call, _), n in counts.items():
        total[call] += n
    return total
