"""Mounts and processes of our own: whatever way a proof ends, nothing of it stays mounted or goes on running."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MARK = "PROOF_SANDBOX"
GIVE_UP_S = 10
LOOK_PAUSE_S = 0.1
# A shell as the first process: it takes in the processes that have lost their parents.
FIRST = ["sh", "-c", '"$@"; exit $?', "sh"]


def enter(**packages):
    """Goes on in namespaces of its own, once these commands are there and ours are built; who has called it ends here.

    Takes command=package, with __ for a dot and _ for a hyphen.
    """
    if os.geteuid() != 0:
        sys.exit("this mounts file systems and filters system calls: run it as root")
    if MARK in os.environ:
        signal.signal(signal.SIGTERM, give_up)
        return
    install(packages)
    if "PROOF_BIN" not in os.environ:
        commands = [f"--bin={name}" for name in ("bcrlapi-agent", "bcrlapi-local", "bcrlapi-worker")]
        subprocess.run(["cargo", "build", "--quiet", *commands], cwd=ROOT, check=True)
    home = tempfile.mkdtemp(prefix="bcrlapi-proof-")
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]
    inside = subprocess.Popen(
        [*namespaces, *FIRST, sys.executable, *sys.argv], env={**os.environ, MARK: "entered", "TMPDIR": home}
    )
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, lambda *_: stop(inside.pid))
    code = inside.wait()
    shutil.rmtree(home, ignore_errors=True)
    sys.exit(code)


def stop(outermost):
    """Asks the script inside, which is the shell's child, to give up."""
    for shell in children(outermost):
        for script in children(shell):
            os.kill(script, signal.SIGTERM)


def give_up(*_):
    """Ends all that is inside, and then unmounts: an image before the shelf that it is on, or both would stay."""
    os.kill(-1, signal.SIGKILL)
    deadline = time.monotonic() + GIVE_UP_S
    home = tempfile.gettempdir()
    while time.monotonic() < deadline and home in pathlib.Path("/proc/mounts").read_text():
        for line in reversed(pathlib.Path("/proc/mounts").read_text().splitlines()):
            if home in line:
                subprocess.run(["umount", line.split()[1]], stderr=subprocess.DEVNULL)
        time.sleep(LOOK_PAUSE_S)
    os._exit(1)


def children(pid):
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def install(packages):
    commands = {name.replace("__", ".").replace("_", "-"): package for name, package in packages.items()}
    # What is only for root, and what is not meant to be called by hand, stands on few paths.
    os.environ["PATH"] += ":/usr/sbin:/sbin:/usr/lib/openssh"
    missing = sorted({package for name, package in commands.items() if not shutil.which(name)})
    if missing:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-qq", "-y", *missing], check=True, stdout=subprocess.DEVNULL)
