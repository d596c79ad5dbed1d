"""The model of a job (job.pml) with spin: each run is a search of all states, and each mutant has to be refuted.

MODEL_ALL=1 adds the run in which every fault may come (several million states)."""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

MODEL = pathlib.Path(__file__).with_name("job.pml")
DEPTH = 20000  # of the search; several times what it reaches
MEMORY_MB = 1000  # each of two at a time; they take about 150
TIMEOUT_S = 300  # for a machine with much else to do

NO_FAULTS = {"MAX_RESCUES": 1, "CRASHES": 0, "LOST_ANSWERS": 0, "HANDOVERS": 0, "DELETES": 0}

# What may come in a run, beside failures, late requests and lapses, which may come in all. Those of one sweeper come first.
RUNS = {
    "crash_lost_delete": {"CRASHES": 1, "LOST_ANSWERS": 1, "DELETES": 1},
    "crash_handover_delete": {"CRASHES": 1, "HANDOVERS": 1, "DELETES": 1},
    "lost_handover": {"LOST_ANSWERS": 1, "HANDOVERS": 1},
    "two_crashes_two_rescues": {"MAX_RESCUES": 2, "CRASHES": 2},
    "two_sweepers": {"SWEEPERS": 2, "LOST_ANSWERS": 1},
    "two_jobs_an_instance": {"DISPATCHERS": 3, "LOST_ANSWERS": 1},
}
if os.environ.get("MODEL_ALL"):
    RUNS["all"] = {"CRASHES": 1, "LOST_ANSWERS": 1, "HANDOVERS": 1, "DELETES": 1}

# What breaks, and with what faults it does.
MUTANTS = {
    "UNREAD_DELETE": ("P2", {}),
    "UNFENCED": ("P3", {}),
    "OWNER_FENCE": ("P2", {"DISPATCHERS": 3}),
    "SHARED_KEY": ("P2", {}),
    "ABORT_UNCLEAR": ("P2", {}),
    "TRUST_COMPLETE": ("P2", {}),
    "CLEAR_ONCE": ("P5", {}),
    "BLIND_REPORT": ("P5", {"SWEEPERS": 2, "MAX_ATTEMPTS": 1, "MAX_RESCUES": 0}),
    "EARLY_RETRY": ("P5", {"SWEEPERS": 2, "MAX_ATTEMPTS": 1, "MAX_RESCUES": 0, "LOST_ANSWERS": 1}),
    "NO_READ_BACK": ("P2", {"LOST_ANSWERS": 1}),
    "TRUST_COMMIT": ("P3", {"LOST_ANSWERS": 1}),
    "STALE_DELETES": ("P2", {"LOST_ANSWERS": 1, "DELETES": 1}),
    "EAGER_CLAIM": ("P6", {}),
    "UNCOUNTED": ("P4", {}),
    "UNBOUNDED_RESCUES": ("P4", {"CRASHES": 1}),
}


def defines(settings):
    return [f"-D{name}={value}" for name, value in {**NO_FAULTS, **settings}.items()]


class Search:
    """One run of the verifier."""

    def __init__(self, options, compiling, *searching):
        self.options, self.compiling, self.searching = options, compiling, searching
        self.directory = tempfile.mkdtemp(prefix="model-")

    def run(self):
        """Returns itself; `said` is what the verifier says."""
        shutil.copy(MODEL, self.directory)
        self.call("spin", *self.options, "-a", MODEL.name)
        self.call("gcc", "-w", f"-DMEMLIM={MEMORY_MB}", *self.compiling, "-o", "pan", "pan.c")
        self.said = self.call("./pan", f"-m{DEPTH}", "-w22", *self.searching)
        return self

    def call(self, *command):
        done = subprocess.run(command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_S)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}"
        return done.stdout

    def trail(self):
        """The steps that lead to what broke, in words; the last line says what that is."""
        said = self.call("spin", *self.options, "-t", "-T", "-B", MODEL.name)
        steps, broken, rest = said.partition("BROKEN ")
        lines = steps.splitlines() + ([broken + rest.splitlines()[0]] if broken else [])
        return "\n".join(line for line in lines if not re.match(r"spin:|#processes|\s*\d+:\tproc|$", line))

    def assert_complete(self):
        if "errors: 0" not in self.said:
            pytest.fail(self.trail() + "\n" + self.said)
        # The verifier's own words for a search that was cut short, or forgets states.
        for cut in ("Search not completed", "max search depth too small", "out of memory", "Bit statespace", "Hash-Compact"):
            assert cut not in self.said, self.said
        states = re.search(r"(\d+(?:\.\d+e\+\d+)?) states, stored", self.said)[1]
        assert float(states) > 10000, self.said

    def unreached(self):
        """What no state of the search came to, but for the places where a property is broken, and ends of what has none."""
        places, process = set(), None
        for line in self.said.splitlines():
            if line.startswith("unreached in"):
                process = line.split()[-1]
            elif process and re.match(r"\t\S+:\d+, state \d+", line):
                if not re.search(r'''"(printf\('(BROKEN |P\d: .*|\\n)'\)|assert\(0\)|-end-)"$''', line):
                    places.add((process, line.strip()))
        return places


@pytest.fixture(scope="module")
def searches():
    """All of them, two at a time, the long ones first: a test waits for its own."""
    made = {"circle": Search(defines({"CRASHES": 1, "LOST_ANSWERS": 1}), ["-O1", "-DNP"], "-l")}
    made.update((run, Search(defines(settings), ["-O1", "-DSAFETY"])) for run, settings in RUNS.items())
    # The first to be found has the shortest trail.
    made.update((mutant, Search([f"-D{mutant}", *defines(settings)], ["-O0", "-DSAFETY", "-DBFS"]))
                for mutant, (_, settings) in MUTANTS.items())
    made["UNREPORTED"] = Search(["-DUNREPORTED", *defines({})], ["-O0", "-DNP"], "-l")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(search.run) for name, search in made.items()}
        pool.shutdown(cancel_futures=True)
    for search in made.values():
        shutil.rmtree(search.directory)


@pytest.mark.parametrize("run", RUNS)
def test_nothing_breaks(run, searches):
    search = searches[run].result()
    search.assert_complete()
    assert "assertion violations\t+" in search.said and "invalid end states\t+" in search.said, search.said


def test_every_step_is_taken_in_some_run(searches):
    # Of the same sweeper: the places of another's steps have other numbers.
    sets = [searches[run].result().unreached() for run, settings in RUNS.items() if "SWEEPERS" not in settings]
    assert set.intersection(*sets) == set()


def test_no_circle(searches):
    search = searches["circle"].result()
    search.assert_complete()
    assert "non-progress cycles \t+" in search.said, search.said


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_refuted(mutant, searches):
    search = searches[mutant].result()
    assert "errors: 1" in search.said, search.said
    last = search.trail().splitlines()[-1]
    assert last.startswith(f"BROKEN {MUTANTS[mutant][0]}: "), last


def test_mutant_that_goes_round_in_a_circle_is_refuted(searches):
    search = searches["UNREPORTED"].result()
    assert "non-progress cycle" in search.said and "errors: 1" in search.said, search.said
    assert "sweeper" in search.trail().split("<<<<<START OF CYCLE>>>>>")[1]


def test_every_mutant_of_the_model_is_tried():
    names = re.search(r"Mutants:.*?\*/", MODEL.read_text(), re.S)[0]
    listed = set(re.findall(r"\b[A-Z]+_[A-Z_]+\b|\bUN[A-Z]+\b", names))
    assert listed == {*MUTANTS, "UNREPORTED"}
