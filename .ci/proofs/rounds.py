"""A round: a lab whose power was cut is started again, and what comes of its jobs is held against the promise."""

import collections
import json
import time

from proofs import busy, images, program
from proofs.api import Api
from proofs.stack import Stack

# Longer than anything waits that is waited for: names are cached for 75 s on some file systems, here for 10 s.
REST_LIMIT_S = 100
LOOK_PAUSE_S = 0.2
RANK = {"pending": 0, "processing": 1, "done": 2, "failed": 2}
# lost, doubled, half, wrong: what may not be. again, spoiled: what scripts that sync nothing must live with.
FAULTS = ("lost", "doubled", "half", "wrong")
NO_FAULTS = ("again", "spoiled")


def recover(cut):
    """Starts the lab again, waits until it has come to rest, and judges."""
    started = time.monotonic()
    stack = Stack(cut.home)
    busy.write_app(cut.home)
    api, facts = Api(stack.environment), Facts(cut)
    facts.row_at_cut = api.jobs()
    _, servers = busy.CASTS[cut.cast]
    commands = [busy.agent(cut.lost_after), *map(busy.server, servers)]
    machine = images.Machine(
        cut.home / "lab.img", cut.options, cut.home, commands, busy.environment(cut.home, stack.environment)
    )
    try:
        facts.wait_for_rest(api, machine)
        facts.on_disk, facts.responses = statuses_found(machine.found), responses_found(machine.found)
        facts.after = program.runs_in(cut.home / "runs")
        return facts.judge(api, time.monotonic() - started)
    finally:
        machine.cut()
        stack.kill()


class Facts:
    """All that is known of a round, and what follows from it."""

    def __init__(self, cut):
        self.cut = cut
        self.row_at_cut, self.rows, self.on_disk, self.entries = {}, {}, {}, {}
        self.after, self.unrest, self.responses = [], {}, set()

    def wait_for_rest(self, api, machine):
        deadline = time.monotonic() + REST_LIMIT_S
        while True:
            # The rows first: what they say of a job, its entry says too by then.
            self.rows = api.jobs()
            self.entries = entries_of(machine)
            self.unrest = self.what_is_missing(machine)
            if not self.unrest or time.monotonic() > deadline:
                return
            time.sleep(LOOK_PAUSE_S)

    def what_is_missing(self, machine):
        missing = {}
        if machine.process.poll() is not None:
            missing["machine"] = machine.log()
        for uuid in {*self.cut.told, *self.rows}:
            row, entries = self.rows.get(uuid, {}).get("status"), self.entries.get(uuid, [])
            if row != "done" or [RANK.get(entry) for entry in entries] != [RANK["done"]]:
                missing[uuid] = f"the cloud says {row}, status.json says {entries}"
        return missing

    def judge(self, api, took_s):
        found = collections.defaultdict(list)
        for uuid, row in self.rows.items():
            job = JobFacts(self, uuid, row)
            if uuid in self.unrest:
                found["lost"].append(f"{uuid}: {self.unrest[uuid]}; {job.story()}")
            for kind, reason in job.faults(api):
                found[kind].append(f"{uuid}: {reason}; {job.story()}")
        for uuid in self.unrest.keys() - self.rows.keys():
            found["lost"].append(f"{uuid}: {self.unrest[uuid]}")
        return Verdict(self.cut, dict(found), self.counts(), took_s)

    def counts(self):
        words = collections.Counter(row["status"] for row in self.row_at_cut.values())
        words.update(jobs=len(self.rows), runs_after=sum(line["event"] == "start" for line in self.after))
        return words


class JobFacts:
    """One job before and after the cut."""

    def __init__(self, facts, uuid, row):
        def starts(lines):
            return [line for line in lines if line["uuid"] == uuid and line["event"] == "start"]

        self.uuid, self.row = uuid, row
        self.row_at_cut = facts.row_at_cut.get(uuid, {})
        self.on_disk = facts.on_disk.get(uuid, "pending")
        self.had_response = uuid in facts.responses
        self.surely, self.perhaps, self.after = map(starts, (facts.cut.surely, facts.cut.perhaps, facts.after))
        self.has_ended_after = any(line["uuid"] == uuid and line["event"] == "end" for line in facts.after)

    def faults(self, api):
        """Kinds and reasons, none of them if all is well."""
        if self.row["status"] != "done":
            return
        yield from self.doubles()
        if self.row["outcome"] == "succeeded":
            if api.result(self.uuid) not in [self.written_by(line) for line in [*self.perhaps, *self.after]]:
                yield "half", "its result is not what a run has written"
        else:
            yield from self.failures()

    def doubles(self):
        if len(self.perhaps) > 1 or len(self.after) > 1:
            yield "doubled", f"{len(self.perhaps)} runs before the cut and {len(self.after)} after it"
        elif self.surely and self.after:
            # The worker starts nothing before the claim is on the disk.
            is_known = self.was_begun() or self.surely[0]["actor"] == "worker"
            yield ("doubled" if is_known else "again"), "it was run again"

    def failures(self):
        outcome, error = self.row["outcome"], self.row["error"]
        if self.row_at_cut.get("outcome") == "succeeded":
            yield "lost", f"it had succeeded, and is {outcome}"
        elif not error:
            yield "wrong", f"it is {outcome}, without a reason"
        elif self.has_ended_after or not (self.was_begun() or self.had_response):
            yield "wrong", f"nothing kept it from being run, and it is {outcome}: {error}"
        elif self.perhaps and (RANK.get(self.on_disk, 0) == RANK["done"] or self.had_response):
            kind = "lost" if self.perhaps[-1]["actor"] == "worker" else "spoiled"
            yield kind, f"its end was on the disk, and it is {outcome}: {error}"

    def was_begun(self):
        """Whether disk or cloud knew, at the cut, that somebody had it."""
        return RANK.get(self.on_disk, 0) > 0 or self.row_at_cut.get("status", "pending") != "pending"

    def written_by(self, line):
        return program.answer(self.uuid, line["run"], line["size_bytes"])

    def story(self):
        before = [line["actor"] for line in self.surely]
        return (f"at the cut the cloud said {self.row_at_cut.get('status')} and the disk {self.on_disk}; "
                f"runs before {before}, after {len(self.after)}")


class Verdict:
    """What a round has come to."""

    def __init__(self, cut, found, counts, took_s):
        self.cut, self.found, self.took_s = cut, found, took_s
        self.counts = counts + collections.Counter({kind: len(reasons) for kind, reasons in found.items()})

    def is_bad(self):
        return any(self.counts[kind] for kind in FAULTS)

    def line(self, again):
        cut, counts = self.cut, self.counts
        told = ", ".join(f"{counts[kind]} {kind}" for kind in FAULTS)
        told += "".join(f", {counts[kind]} {kind}" for kind in NO_FAULTS if counts[kind])
        first = "".join(f"\n    {kind}: {self.found[kind][0]}" for kind in FAULTS if kind in self.found)
        return (f"{cut.number:4} {cut.cast:13} {cut.options:23} at {cut.moment_s:4.1f} s: {counts['jobs']:3} jobs, "
                f"{counts['processing']} ran, {counts['pending']} waited; {told}; {counts['runs_after']} runs after, "
                f"{self.took_s:.1f} s  {again}{first}")


def entries_of(machine):
    """What status.json says of each job, by uuid; nothing where it cannot be read."""
    shared = machine.shared()
    try:
        return statuses_in(shared / "request/status.json") if shared else {}
    except (OSError, ValueError):
        return {}


def statuses_in(file):
    statuses = collections.defaultdict(list)
    for entry in json.loads(file.read_text(encoding="utf-8"))["jobs"]:
        statuses[entry["uuid"]].append(entry["status"])
    return statuses


def responses_found(found):
    """The jobs that have a response on the recovered disk, whatever is in it."""
    names = (found / "responses").read_text().split() if (found / "responses").exists() else []
    return {name.removesuffix(".json") for name in names if not name.startswith(".")}


def statuses_found(found):
    """The furthest that the recovered disk says of each job: in the queue, or in one that was displaced."""
    furthest = {}
    request = found / "request"
    for file in [request / "status.json", *request.glob(".displaced/*")]:
        try:
            statuses = statuses_in(file)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        for uuid, words in statuses.items():
            furthest[uuid] = max([furthest.get(uuid, "pending"), *words], key=lambda word: RANK.get(word, 0))
    return furthest
