"""A lab under load, and the copies that are made of it at random moments: each is what a power cut leaves."""

import concurrent.futures
import json
import pathlib
import random
import shlex
import shutil
import sys
import threading
import time

from proofs import images, program, turns
from proofs.api import Api
from proofs.stack import BIN, ROOT, Stack, wait_for

CUTS_A_RUN = 25
BETWEEN_CUTS_S = (0.2, 1.2)
# How long the cloud has been silent when the power goes. The lab works on meanwhile: after a long silence its disk
# knows what the cloud does not.
SILENCES_S = ((0, 0.03), (0.3, 1.5))
BETWEEN_SUBMITS_S = (0.02, 0.2)
PROGRAM_MAX_S = 0.4
SIZES_BYTES = (0, 100, 5_000, 60_000, 300_000)
START_LIMIT_S = 60
LOST_AFTER = "15s"
# cron starts a script each minute; here there is less time.
TURN_EVERY_S = 0.2

# Who serves the queue of a busy run, and who after a cut: the worker and the published scripts, which take turns, end
# what they have left themselves. A lab's own script, which takes no lock, is alone; what it leaves, a deadline ends.
CASTS = {
    "worker": (["worker"], ["worker"]),
    "with-the-lock": (["worker", "turn.py", "turn.sh"], ["worker", "turn.py", "turn.sh"]),
    "one-script": (["naive"], ["worker"]),
}

# What can be left out: the files or folders whose fsync does nothing.
FSYNCS = {
    "request": r"/request/\.?[0-9a-f-]{36}[^/]*$",
    "request-folder": r"/request$",
    "queue": r"/request/(\.status[^/]*|\.displaced/[^/]+)$",
    "displaced-folder": r"/request/\.displaced$",
    "agent-lock": r"/\.agent\.lock$",
    "journal": r"/request/\.journal[^/]*$",
    "response": r"/response/(\.running/)?\.?[0-9a-f-]{36}[^/]*$",
    "response-folder": r"/response(/\.running)?$",
    "all": r"/",
}


class BusyRun:
    """One image, one cloud, one load; `play` gives the copies."""

    def __init__(self, arguments, number, home):
        self.number, self.home = number, home
        self.random = random.Random(f"{arguments.seed} {number}")
        self.file_system = arguments.file_system
        mkfs, ways_to_mount = images.FILE_SYSTEMS[self.file_system]
        self.options = self.random.choice(ways_to_mount)
        self.cast = arguments.cast or list(CASTS)[number % len(CASTS)]
        self.lost_after = arguments.lost_after or (LOST_AFTER if self.cast == "one-script" else None)
        self.without_fsync = arguments.without_fsync
        self.told = {}
        self.is_over = threading.Event()
        home.mkdir()
        images.make_image(home / "lab.img", images.IMAGE_BYTES, mkfs)

    def play(self, wanted):
        """The cuts of these numbers."""
        stack = Stack(self.home)
        servers, _ = CASTS[self.cast]
        commands = [agent(), *map(server, servers)]
        if self.without_fsync:
            commands = [without(FSYNCS[self.without_fsync], command) for command in commands]
        write_app(self.home)
        machine = images.Machine(
            self.home / "lab.img", self.options, self.home, commands, environment(self.home, stack.environment)
        )
        try:
            wait_for("the agent's first look", START_LIMIT_S, lambda: is_served(machine))
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                callers = pool.submit(self.submit, stack.environment, self.random.random())
                try:
                    cuts = list(self.cut(stack, machine, wanted))
                finally:
                    self.is_over.set()
                # That the load has stopped early is told here.
                callers.result()
            return cuts
        finally:
            machine.cut()
            stack.kill()

    def submit(self, stack_environment, seed):
        """Callers, until the run is over."""
        chance, api = random.Random(seed), Api(stack_environment)
        while not self.is_over.is_set():
            wishes = {"seconds": chance.random() ** 2 * PROGRAM_MAX_S, "size_bytes": chance.choice(SIZES_BYTES)}
            self.told[api.submit(wishes)] = wishes
            # Not a wait for anything: the load itself.
            time.sleep(chance.uniform(*BETWEEN_SUBMITS_S))

    def cut(self, stack, machine, wanted):
        """The copies. Where not all cuts are wanted, the moments of the others pass all the same."""
        started = time.monotonic()
        for number in range(max(wanted) + 1):
            # Not a wait for anything: moments are to be random.
            time.sleep(self.random.uniform(*BETWEEN_CUTS_S))
            told, silence_s = dict(self.told), self.random.uniform(*self.random.choice(SILENCES_S))
            stack.freeze()
            time.sleep(silence_s)
            # What was noted before the copy has surely happened before it; what is not noted after it, surely not.
            surely = program.runs_in(self.home / "runs")
            cut = Cut(self, self.number * CUTS_A_RUN + number, told, surely, time.monotonic() - started)
            images.clone(self.home / "lab.img", cut.home / "lab.img.at-cut")
            cut.perhaps = program.runs_in(self.home / "runs")
            images.clone_tree(self.home / "up", cut.home / "up.at-cut")
            stack.thaw()
            if machine.process.poll() is not None:
                raise RuntimeError(f"the lab has stopped: {machine.log()}")
            if number in wanted:
                cut.save()
                yield cut
            else:
                shutil.rmtree(cut.home)


class Cut:
    """What is left of a lab whose power was cut, and what is known of that moment."""

    def __init__(self, busy, number, told, surely, moment_s):
        self.number, self.told, self.surely, self.perhaps = number, told, surely, surely
        self.file_system, self.options, self.cast = busy.file_system, busy.options, busy.cast
        self.lost_after, self.moment_s = busy.lost_after, moment_s
        self.home = busy.home.parent / f"round-{number}"
        self.home.mkdir()

    def save(self):
        """Notes what is known. What is started is another copy: how it was at the cut can be looked at afterwards."""
        known = {name: value for name, value in vars(self).items() if name != "home"}
        (self.home / "cut.json").write_text(json.dumps(known))
        images.clone(self.home / "lab.img.at-cut", self.home / "lab.img")
        images.clone_tree(self.home / "up.at-cut", self.home / "up")

    @classmethod
    def load(cls, home):
        cut = cls.__new__(cls)
        vars(cut).update(json.loads((home / "cut.json").read_text()))
        cut.home = home
        return cut


def agent(lost_after=None):
    deadline = f"--lost-after {lost_after}" if lost_after else ""
    return f"exec {BIN}/bcrlapi-agent --poll 500ms {deadline} 2>>agent.log"


def server(name):
    if name == "worker":
        worker = f"{BIN}/bcrlapi-worker --jobs 2 -- {sys.executable} -I -S app/main.py"
        return f"PROOF_ACTOR=worker exec {worker} >>worker.log 2>&1"
    if name == "naive":
        return f"PROOF_ACTOR=script exec {sys.executable} {turns.__file__} $BCRLAPI_SHARED naive >>naive.log 2>&1"
    program = sys.executable if name.endswith(".py") else "sh"
    turn = f"{program} app/{name} $BCRLAPI_SHARED"
    return f"export PROOF_ACTOR=script; while sleep {TURN_EVERY_S}; do {turn}; done >>{name}.log 2>&1"


def without(pattern, command):
    return f"exec {sys.executable} -m proofs.syscalls --skip-fsync '{pattern}' -- sh -c {shlex.quote(command)}"


def write_app(home):
    """The program, and the scripts that are published for the lab."""
    app = home / "app"
    app.mkdir(exist_ok=True)
    shutil.copy(program.__file__, app / "main.py")
    for published, name in (("cron.py", "turn.py"), ("turn.sh", "turn.sh")):
        shutil.copy(ROOT / "examples/app-server" / published, app / name)


def environment(home, stack_environment):
    scripts = pathlib.Path(__file__).parent.parent
    return {**stack_environment, "PROOF_RUNS": str(home / "runs"), "PYTHONPATH": str(scripts)}


def is_served(machine):
    shared = machine.shared()
    return (shared and (shared / "request/status.json").exists()) or None
