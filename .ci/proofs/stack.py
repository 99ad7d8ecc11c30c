"""The cloud on this computer: a `bcrlapi-local up` without agent and worker, and the environment that leads to it."""

import os
import pathlib
import shlex
import signal
import subprocess
import time

from proofs.sandbox import ROOT

# The commands to be proved: those of this tree, or others, to compare.
BIN = pathlib.Path(os.environ.get("PROOF_BIN", ROOT / "target/debug"))
START_LIMIT_S = 60
LOOK_PAUSE_S = 0.02
# Nothing of the caller's own configuration counts.
FOREIGN = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "RUST_LOG")


class Stack:
    """Runs from when it is made to `kill`."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        # A stack that was here before has left the addresses of its own.
        (self.directory / "up/env").unlink(missing_ok=True)
        command = [BIN / "bcrlapi-local", "up", "--port", "0", "--no-agent", "--no-worker", "--dir", "up"]
        with open(self.directory / "stack.log", "wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=own_environment(),
            )
        self.environment = {**own_environment(), **self.addresses()}

    def addresses(self):
        env = self.directory / "up/env"
        text = wait_for("the stack to be up", START_LIMIT_S, lambda: self.whole_text(env))
        exports = (line for line in text.splitlines() if line.startswith("export "))
        lines = (line.removeprefix("export ").split("=", 1) for line in exports)
        return {name: shlex.split(value)[0] for name, value in lines}

    def whole_text(self, env):
        if self.process.poll() is not None:
            raise RuntimeError(f"the stack has ended: {(self.directory / 'stack.log').read_text()}")
        text = env.read_text() if env.exists() else ""
        # The last of its lines.
        return text if "BCRLAPI_SHARED" in text and text.endswith("\n") else None

    def freeze(self):
        """Nothing is answered and nothing written until `thaw`; returns when that is so."""
        self.process.send_signal(signal.SIGSTOP)
        wait_for("the stack to stand still", START_LIMIT_S, lambda: all(map(is_stopped, self.threads())) or None)

    def threads(self):
        return list(pathlib.Path(f"/proc/{self.process.pid}/task").iterdir())

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()


def is_stopped(thread):
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0] in "TXZ"
    except (FileNotFoundError, ProcessLookupError):
        return True


def own_environment():
    return {name: value for name, value in os.environ.items() if name not in FOREIGN}


def wait_for(what, limit_s, look):
    """Looks until there is something, and gives it; fails after so long."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(LOOK_PAUSE_S)
    raise TimeoutError(f"waited {limit_s} s for {what}")
