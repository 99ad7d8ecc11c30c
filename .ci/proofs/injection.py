"""Runs a command, and lets one of its calls on the shared directory fail.

    python3 -m proofs.injection '{"below": "/shared", "program": "bcrlapi-agent", "log": "calls"}' -- COMMAND...
    python3 -m proofs.injection '{..., "site": ["fsync", "/request"], "nth": 2, "error": "EIO", "how": "once"}' -- ...

Without a site, every call is written to the log, a line each: its site. How it fails:

once      this one call fails, and does nothing; only what is closed is closed
done      this one call does its work, and is said to have failed: a network's file system whose answer was lost
lasting   from this call on, all that write fail, for some seconds: a full disk, a dead one, one gone read-only
"""

import ctypes
import errno
import json
import os
import re
import struct
import sys
import time

from proofs.syscalls import CALLS, supervise

LASTING_S = 3
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DISPLACED = re.compile(r"/\.displaced/.+")
NUMBER = re.compile(r"\d+")
SYS_RENAMEAT2, AT_FDCWD = 316, -100
WRITING = {
    "write", "writev", "pwrite64", "copy_file_range", "ftruncate", "fsync", "fdatasync", "mkdir", "mkdirat", "rename",
    "renameat", "renameat2", "openat create", "openat2 create",
}


class Injection:
    def __init__(self, wish):
        self.below, self.program = wish["below"], wish["program"]
        self.site, self.nth = wish.get("site"), wish.get("nth")
        self.error, self.how = getattr(errno, wish.get("error", "EIO")), wish.get("how")
        self.log = open(wish["log"], "a", buffering=1, encoding="utf-8")
        self.seen, self.lasts_until = 0, None

    def decide(self, call):
        path = call.path()
        if not path or not (path == self.below or path.startswith(f"{self.below}/")):
            return None
        # Not the programs that a worker starts, nor the shell that starts the worker.
        if call.program() != self.program:
            return None
        if call.name == "close" and not os.path.isfile(path):
            # Only what can be written back can fail so late; no file system says so of a folder.
            return None
        site = site_of(call, path.removeprefix(self.below))
        if self.site is None:
            self.log.write(f"{json.dumps(site)}\n")
            return None
        if self.lasts_until is not None:
            fails = time.monotonic() < self.lasts_until and site[0] in WRITING
            return self.fail(site) if fails else None
        self.seen += site == self.site
        if self.seen != self.nth or site != self.site:
            return None
        if self.how == "lasting":
            self.lasts_until = time.monotonic() + LASTING_S
        if self.how == "done":
            try:
                do(call)
            except OSError as error:
                # It would have failed anyhow.
                self.fail(site)
                return error.errno
        if call.name == "close":
            # Whatever it says, the descriptor is gone, and with it a lock.
            call.close_quietly()
        return self.fail(site)

    def fail(self, site):
        self.log.write(f"{json.dumps(site)}\n")
        return self.error


def site_of(call, path):
    """What is called on what, the same for each job."""
    path = DISPLACED.sub("/.displaced/{queue}", UUID.sub("{uuid}", path))
    return [kind_of(call), NUMBER.sub("N", path) or "/"]


def kind_of(call):
    if call.name == "openat":
        flags = call.arguments[2]
    elif call.name == "openat2":
        with open(f"/proc/{call.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(call.arguments[2])
            (flags,) = struct.unpack("=Q", memory.read(8))
    else:
        return call.name
    writes = flags & os.O_ACCMODE != os.O_RDONLY
    return f"{call.name} {'create' if flags & os.O_CREAT else 'write' if writes else 'read'}"


def do(call):
    """Makes the call in the place of the process. Files only, by their paths."""
    path = os.fsencode(call.path())
    if call.name in ("unlink", "unlinkat"):
        return os.unlink(path)
    if call.name in ("mkdir", "mkdirat"):
        return os.mkdir(path)
    at, flags = (1, 0) if call.name == "rename" else (3, call.arguments[4] if call.name == "renameat2" else 0)
    target = call.text_at(call.arguments[at])
    if at == 3 and not target.startswith("/"):
        target = os.path.join(call.of_descriptor(call.arguments[2]), target)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SYS_RENAMEAT2, AT_FDCWD, path, AT_FDCWD, os.fsencode(target), flags) != 0:
        raise OSError(ctypes.get_errno(), f"cannot rename {path} to {target}")
    return None


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[2] != "--":
        sys.exit(__doc__)
    sys.exit(supervise(sys.argv[3:], list(CALLS), Injection(json.loads(sys.argv[1])).decide))
