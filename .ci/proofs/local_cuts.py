"""The power cut of the computer that `bcrlapi-local up` runs on, with all that it keeps in `.bcrlapi`.

A kill loses nothing there. After a power cut it promises one thing: it comes up, or says what to do. What the last half
minute wrote may be gone or unreadable, and is only counted: for a computer that may crash these are the wrong stores.
"""

import collections
import concurrent.futures
import json
import random
import shlex
import shutil
import sqlite3
import threading
import time

from proofs import images
from proofs.api import Api, Refused
from proofs.stack import BIN, own_environment, wait_for

START_LIMIT_S = 30
# Long enough for any job that is not stuck.
REST_LIMIT_S = 20
LOOK_PAUSE_S = 0.2
BETWEEN_CUTS_S = (0.2, 1.2)
BETWEEN_SUBMITS_S = (0.02, 0.2)
SIZES_BYTES = (0, 5_000, 300_000)
COUNTED = ("told", "gone", "unreadable", "stuck", "damaged")


def play(arguments, shelf):
    totals, bad = collections.Counter(), 0
    cuts = busy_run(shelf.path / "run", arguments.file_system, arguments.seed, arguments.rounds)
    with concurrent.futures.ThreadPoolExecutor(arguments.parallel) as pool:
        for number, (counts, fault) in enumerate(pool.map(recover, cuts)):
            totals.update(counts)
            bad += fault is not None
            again = f".ci/power_cuts --of local --file-system {arguments.file_system} --seed {arguments.seed}"
            print(f"{number:4} {describe(counts)}{f'; FAULT: {fault}' if fault else ''}  {again}", flush=True)
    print(f"{arguments.file_system}: {arguments.rounds} power cuts of the local stack: {describe(totals)}; "
          f"{bad} rounds went wrong")
    return bad > 0


def describe(counts):
    return ", ".join(f"{counts[name]} {name}" for name in COUNTED)


class Local:
    """`bcrlapi-local up` on a machine of its own."""

    def __init__(self, image, options, home):
        self.home = home
        command = f"exec {BIN}/bcrlapi-local up --port 0 --dir $BCRLAPI_SHARED/../up >>up.log 2>&1"
        self.machine = images.Machine(image, options, home, [command], own_environment())

    def log(self):
        log = self.home / "up.log"
        return f"{self.machine.log()}{log.read_text(errors='replace')[-2000:] if log.exists() else ''}"

    def environment(self):
        return wait_for("the stack to be up", START_LIMIT_S, self.read_environment)

    def read_environment(self):
        log = self.log()
        if "error: " in log:
            raise RuntimeError(log)
        # Only then the addresses are those of this start, not of the life before.
        if "bcrlapi is up" not in log:
            return None
        text = (self.machine.shared().parent / "up/env").read_text()
        lines = (line.removeprefix("export ").split("=", 1) for line in text.splitlines())
        return {name: shlex.split(value)[0] for name, value in lines}


def busy_run(home, file_system, seed, cuts):
    """Folders, each with an image as it was at a cut, and what its callers had been told by then."""
    chance = random.Random(f"local {seed}")
    mkfs, ways_to_mount = images.FILE_SYSTEMS[file_system]
    options = chance.choice(ways_to_mount)
    home.mkdir()
    images.make_image(home / "lab.img", images.IMAGE_BYTES, mkfs)
    local, told, is_over = Local(home / "lab.img", options, home), {}, threading.Event()
    api = Api(local.environment())

    def submit():
        load = random.Random(seed)
        while not is_over.is_set():
            wishes = {"seconds": load.random() * 0.3, "size_bytes": load.choice(SIZES_BYTES), "payload": load.random()}
            told[api.submit(wishes)] = wishes
            # Not a wait for anything: the load itself.
            time.sleep(load.uniform(*BETWEEN_SUBMITS_S))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        callers = pool.submit(submit)
        try:
            for number in range(cuts):
                # Not a wait for anything: moments are to be random.
                time.sleep(chance.uniform(*BETWEEN_CUTS_S))
                known = dict(told)
                cut = home.parent / f"local-{seed}-{number}"
                cut.mkdir()
                images.clone(home / "lab.img", cut / "lab.img")
                (cut / "cut.json").write_text(json.dumps({"options": options, "told": known}))
                yield cut
        finally:
            is_over.set()
        callers.result()
    local.machine.cut()


def recover(cut):
    """What is counted, and why it does not come up, where it neither does nor says what to do."""
    known = json.loads((cut / "cut.json").read_text())
    counts = collections.Counter(told=len(known["told"]))
    local = Local(cut / "lab.img", known["options"], cut)
    try:
        api = Api(local.environment())
        jobs = rest(api)
        counts["damaged"] = is_damaged(local)
    except RuntimeError as error:
        return counts, None if "remove it" in str(error) else str(error)
    except (OSError, Refused) as error:
        return counts, f"{error}; {local.log()}"
    else:
        counts["gone"] = len(known["told"].keys() - jobs.keys())
        counts["stuck"] = sum(job["status"] != "done" for job in jobs.values())
        succeeded = [uuid for uuid, job in jobs.items() if job["outcome"] == "succeeded" and uuid in known["told"]]
        counts["unreadable"] = sum(not is_right(api, uuid, known["told"][uuid]) for uuid in succeeded)
        return counts, None
    finally:
        local.machine.cut()
        shutil.rmtree(cut)


def rest(api):
    deadline = time.monotonic() + REST_LIMIT_S
    jobs = api.jobs()
    while time.monotonic() < deadline and any(job["status"] != "done" for job in jobs.values()):
        time.sleep(LOOK_PAUSE_S)
        jobs = api.jobs()
    return jobs


def is_damaged(local):
    """Whether SQLite finds anything wrong in a copy of the database."""
    copy = local.home / "database"
    copy.mkdir()
    for file in (local.machine.shared().parent / "up").glob("dynamodb.sqlite*"):
        shutil.copy(file, copy)
    database = sqlite3.connect(copy / "dynamodb.sqlite")
    answer = [line for (line,) in database.execute("PRAGMA integrity_check")]
    database.close()
    return answer != ["ok"]


def is_right(api, uuid, wishes):
    try:
        result = json.loads(api.result(uuid))
    except (Refused, ValueError):
        return False
    return (result["uuid"], result["payload"]) == (uuid, wishes["payload"])
