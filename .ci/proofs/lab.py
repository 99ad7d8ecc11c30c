"""A lab under a small load: agent and one kind of server on a directory, and what has come of its jobs."""

import collections
import concurrent.futures
import contextlib
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time

from proofs import program
from proofs.api import Api
from proofs.stack import BIN, Stack, wait_for

# Two at a time need the lock; a script without it is alone, and its programs take longer than a second.
JOBS = {"naive": 12, "lock": 40, "worker": 40}
SECONDS = {"naive": 1.1, "lock": 0.05, "worker": 0.05}
SERVERS = {"naive": 1, "lock": 2, "worker": 1}
BETWEEN_SUBMITS_S = 0.05
# A response whose name a client has cached as missing is waited for a minute and a quarter.
END_LIMIT_S = 150
QUEUE_LIMIT_S = 10
LOOK_PAUSE_S = 0.1

# Where the commands, a Python and these very scripts are found by whoever is to run them.
Tools = collections.namedtuple("Tools", "programs python scripts")
OWN_TOOLS = Tools(BIN, sys.executable, pathlib.Path(program.__file__).parent)
# As whom and how a side is run: what stands before its command, and what its environment has besides.
Side = collections.namedtuple("Side", "prefix environment", defaults=((), {}))
ANYBODY = Side()


class Cell:
    def __init__(self, jobs, lost, twice, latencies_s, notes):
        self.jobs, self.lost, self.twice, self.latencies_s, self.notes = jobs, lost, twice, latencies_s, notes

    def is_bad(self):
        return bool(self.lost or self.twice)

    def median_s(self):
        return f"{statistics.median(self.latencies_s):.2f} s" if self.latencies_s else "-"

    def __str__(self):
        return (f"{self.jobs} jobs, {len(self.lost)} lost, {self.twice} twice, {self.median_s()}"
                f"{''.join(f'; {note}' for note in [*self.lost[:1], *self.notes])}")

    def markdown(self):
        return f"{self.jobs}, {len(self.lost)}, {self.twice}, {self.median_s()}"


class Lab:
    """`agents` and `servers`: where each side sees the directory. `stack` ends what is started."""

    def __init__(self, home, agents, servers, stack, tools=OWN_TOOLS):
        self.home, self.agents, self.servers, self.stack, self.tools = home, agents, servers, stack, tools
        self.cloud = Stack(home)
        stack.callback(self.cloud.kill)
        self.environment = {**self.cloud.environment, "PROOF_RUNS": str(home / "runs")}
        # When each job was submitted, and when it was first seen to be done: no other clock has a say.
        self.submitted_s, self.done_s = {}, {}

    def serve(self, server, agent=ANYBODY, served_by=ANYBODY, beside=lambda: None):
        """One cell. `beside` is called again and again while jobs run."""
        command = [self.tools.programs / "bcrlapi-agent", "--poll", "500ms"]
        self.start("agent", agent, command, BCRLAPI_SHARED=str(self.agents))
        try:
            wait_for("a queue on the server's side", QUEUE_LIMIT_S, self.sees_queue)
        except TimeoutError as error:
            last_words = (self.home / "agent.log").read_text(errors="replace").splitlines()[-1:]
            return Cell(0, [str(error)], 0, [], self.warnings() or last_words)
        for _ in range(SERVERS[server]):
            command = self.command(server)
            self.start(server, served_by, command, BCRLAPI_SHARED=str(self.servers), PROOF_ACTOR=server)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            callers, api = pool.submit(self.submit, server), Api(self.cloud.environment)
            deadline = time.monotonic() + END_LIMIT_S
            while time.monotonic() < deadline and not (callers.done() and self.is_over(api)):
                beside()
                time.sleep(LOOK_PAUSE_S)
            callers.result()
        return self.count(api)

    def submit(self, server):
        api = Api(self.cloud.environment)
        for number in range(JOBS[server]):
            uuid = api.submit({"seconds": SECONDS[server], "size_bytes": 1000 * (number % 5)})
            self.submitted_s[uuid] = time.monotonic()
            # Not a wait for anything: the load itself.
            time.sleep(BETWEEN_SUBMITS_S)

    def is_over(self, api):
        done = [uuid for uuid, job in api.jobs().items() if job["status"] == "done"]
        for uuid in done:
            self.done_s.setdefault(uuid, time.monotonic())
        return len(done) == len(self.submitted_s)

    def sees_queue(self):
        return (self.servers / "request/status.json").exists() or None

    def command(self, server):
        if server == "worker":
            worker = [self.tools.programs / "bcrlapi-worker", "--jobs", "2", "--"]
            return [*worker, self.tools.python, "-I", "-S", self.tools.scripts / "program.py"]
        return [self.tools.python, self.tools.scripts / "turns.py", self.servers, server]

    def start(self, name, side, command, **environment):
        with open(self.home / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                [*side.prefix, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home,
                env={**self.environment, **environment, **side.environment}, start_new_session=True,
            )
        self.stack.callback(end, process)

    def count(self, api):
        runs = collections.defaultdict(list)
        for line in program.runs_in(self.home / "runs"):
            if line["event"] == "start":
                runs[line["uuid"]].append(program.answer(line["uuid"], line["run"], line["size_bytes"]))
        rows, lost, latencies_s = api.jobs(), [], []
        for uuid, submitted_s in self.submitted_s.items():
            row = rows[uuid]
            if row["status"] != "done" or row["outcome"] != "succeeded":
                lost.append(f"a job is {row['outcome'] or row['status']}: {row['error']}")
            elif api.result(uuid) not in runs[uuid]:
                lost.append("a result is not what a run has written")
            else:
                latencies_s.append(self.done_s[uuid] - submitted_s)
        twice = sum(len(each) > 1 for each in runs.values())
        return Cell(len(self.submitted_s), lost, twice, latencies_s, self.warnings())

    def warnings(self):
        """What the agent has to say of the place, once each."""
        log = (self.home / "agent.log").read_text(errors="replace")
        said = re.findall(r"(?:WARN|ERROR) [\w:]+: (.*)", re.sub(r"\x1b\[[0-9;]*m", "", log))
        kinds = collections.Counter(re.sub(r"[0-9a-f-]{36}|\d+", "N", line) for line in said)
        return [f"{count} x {line[:160]}" for line, count in kinds.most_common(2)]


def end(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

