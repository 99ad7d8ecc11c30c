#!/usr/bin/env python3
"""One turn of the APP server: takes the first pending job, runs the main.py beside this script, says how it ended.

    * * * * * /usr/bin/python3 /opt/lab/turn.py

main.py is called with two files: the request to read, the response to write. What it prints as a line such as
"progress 40 reading the samples" reaches the caller. A turn ends at once while another one runs. Python 3.6 or newer.
"""

import fcntl, json, os, pathlib, re, signal, socket, subprocess, sys, tempfile, time, uuid

SHARED = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "/shared/bcrlapi").absolute()
STATUS = SHARED / "request/status.json"
MAIN = pathlib.Path(__file__).resolve().parent / "main.py"
# Whatever locale cron has, what main.py opens is UTF-8; LC_ALL is for Python 3.6.
ENVIRONMENT = dict(os.environ, PYTHONUTF8="1", PYTHONIOENCODING="utf-8", PYTHONUNBUFFERED="1", LC_ALL="C.UTF-8")
HOST = socket.gethostname()
TURN = f"{HOST} {uuid.uuid4()}"
PATIENCE_S = 10
PROGRESS_EVERY_S = 5

stopped = []


class Failed(Exception):
    """Why the job has no response."""


def lock(name, how=fcntl.LOCK_EX):
    file = open(SHARED / "request" / name, "a")
    fcntl.flock(file, how)
    return file


def rename(staged, target):
    """Puts a file in its place, and that on the disk: a power cut must not undo it."""
    os.replace(staged, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError:
        pass  # Some file systems refuse this for a folder.
    finally:
        os.close(folder)


def write(queue):
    """Writes aside, then renames: nobody reads half a queue. One job a line, in ASCII, as the agent writes it."""
    others = {name: value for name, value in queue.items() if name != "jobs"}
    jobs = ",\n  ".join(json.dumps(job) for job in queue["jobs"])
    staged = STATUS.with_name(".status.json.turn")
    try:
        with open(staged, "w", encoding="utf-8") as file:
            file.write('{"jobs": [\n  ' + jobs + "\n]" + (", " + json.dumps(others)[1:] if others else "}") + "\n")
            file.flush()
            os.fsync(file.fileno())
        rename(staged, STATUS)
    finally:
        if staged.exists():
            staged.unlink()


def update(change):
    """Changes the jobs under the lock. Tries for 10 s: somebody may be writing the queue, or the disk may be full."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with lock(".status.lock"):
                queue = json.loads(STATUS.read_bytes().decode("utf-8-sig", "replace"))
                changed = change([job for job in queue["jobs"] if isinstance(job, dict) and "uuid" in job])
                if changed:
                    write(queue)
                return changed
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def say(job_uuid, **fields):
    """Writes these fields into the job's entry, unless the entry is gone or has been ended by somebody else."""
    def change(jobs):
        running = [job for job in jobs if job["uuid"] == job_uuid and job.get("status") == "processing"]
        for job in running:
            job.update(fields)
        return running
    return update(change)


def end_leftovers(jobs):
    """Ends what an earlier turn on this machine has left: turns do not overlap, so it was killed."""
    left = [job for job in jobs if job.get("status") == "processing" and str(job.get("turn")).startswith(HOST + " ")]
    for job in left:
        job["status"] = "done"
        if not (SHARED / f"response/{job['uuid']}.json").exists():
            job.update(outcome="failed", error="the script was killed before it could end the job; submit it again")
    return left


def claim(jobs):
    """Sets the first pending job to processing, and gives its uuid."""
    for job in jobs:
        # A claim of this turn is there already where writing it has told an error and happened all the same.
        if job.get("status") == "pending" or job.get("turn") == TURN:
            job.update(status="processing", turn=TURN)
            return job["uuid"]


def tail(output):
    size = os.fstat(output.fileno()).st_size
    return os.pread(output.fileno(), 4000, max(0, size - 4000)).decode("utf-8", "replace")


def progress(job_uuid, percent, message):
    try:
        say(job_uuid, progress=int(percent), message=message)
    except Exception as error:  # The program is worth more than a word about it.
        print(f"turn.py: {job_uuid}: cannot say {percent} %: {error!r}", file=sys.stderr)


def wait(program, output, job_uuid):
    """Gives the program's exit code at its end; until then tells its progress, at most once in 5 s."""
    told, due = [], time.monotonic() + PROGRESS_EVERY_S
    while not stopped:
        try:
            return program.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() > due:
            found = re.findall(r"^progress (\d+) *(.*)$", tail(output), re.MULTILINE)[-1:]
            if found and found != told:
                progress(job_uuid, *found[0])
            told, due = found, time.monotonic() + PROGRESS_EVERY_S
    raise Failed("the script was stopped")


def end(program):
    os.killpg(program.pid, signal.SIGTERM)
    try:
        program.wait(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)


def refuse(constant):
    raise ValueError(f"{constant} is not JSON")


def check(response):
    if not response.exists():
        raise Failed("the program wrote no response")
    try:
        with open(response, encoding="utf-8") as file:
            json.load(file, parse_constant=refuse)
    except ValueError as error:
        raise Failed(f"the response is not JSON: {error}")
    except (MemoryError, RecursionError):
        pass  # The agent reads more than Python does: 5 GiB, 10,000 levels deep.


def run(job_uuid):
    """Runs the program, and puts its response in place once it is whole."""
    request = SHARED / f"request/{job_uuid}.json"
    response = SHARED / f"response/{job_uuid}.json"
    staged = response.with_name(f".{job_uuid}.json.staged")
    if not request.exists():
        raise Failed(f"there is no request file {request}")
    with tempfile.TemporaryFile() as output:
        program = subprocess.Popen([sys.executable, MAIN, request, staged], cwd=MAIN.parent, env=ENVIRONMENT,
                                   stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            code = wait(program, output, job_uuid)
            if code != 0:
                raise Failed(f"exit code {code}")
            check(staged)
            with open(staged, "rb+") as file:
                os.fsync(file.fileno())
            rename(staged, response)
        except Failed as failed:
            raise Failed(f"{failed}: {tail(output).strip()[-1800:]}".rstrip(": "))
        finally:
            if program.poll() is None:
                end(program)
            if staged.exists():
                staged.unlink()


def turn():
    update(end_leftovers)
    job_uuid = None if stopped else update(claim)
    if job_uuid is None:
        return
    ended = {"status": "done"}
    try:
        run(job_uuid)
    except Exception as error:
        ended.update(outcome="failed", error=str(error) if isinstance(error, Failed) else repr(error))
        print(f"turn.py: {job_uuid}: {ended['error']}", file=sys.stderr)
    say(job_uuid, **ended)


if not MAIN.exists():
    sys.exit(f"turn.py: there is no {MAIN}")
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, lambda number, frame: stopped.append(number))
# What is made here can be read and written by those who can use the folder.
os.umask(0o777 & ~STATUS.parent.stat().st_mode)
try:
    only_turn = lock(".turn.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit()
try:
    turn()
except Exception as error:
    sys.exit(f"turn.py: {STATUS}: {error!r}")
