"""Runs a command and decides of each of its system calls on files whether the kernel gets to see it.

The kernel asks us (seccomp's user notifications) before such a call is made: so one call of a whole process can be
counted and made to fail, by its path too, whichever of the threads makes it. strace counts for each thread alone.

    python3 -m proofs.syscalls --skip-fsync PATTERN -- COMMAND...     # fsync of what matches does nothing, and succeeds
    python3 -m proofs.syscalls --list BELOW -- COMMAND...             # prints the calls on what lies below this folder
"""

import argparse
import array
import ctypes
import errno
import fcntl
import os
import platform
import re
import select
import signal
import socket
import struct
import subprocess
import sys

# Of x86-64: number, and which of the arguments name the file: D a descriptor, P a path, DP a path from a descriptor.
CALLS = {
    "read": (0, "D"), "write": (1, "D"), "close": (3, "D"), "fstat": (5, "D"), "lseek": (8, "D"),
    "pread64": (17, "D"), "pwrite64": (18, "D"), "readv": (19, "D"), "writev": (20, "D"), "flock": (73, "D"),
    "fsync": (74, "D"), "fdatasync": (75, "D"), "ftruncate": (77, "D"), "rename": (82, "P"), "mkdir": (83, "P"),
    "unlink": (87, "P"), "chmod": (90, "P"), "fchmod": (91, "D"), "fchown": (93, "D"), "statfs": (137, "P"),
    "fstatfs": (138, "D"), "getdents64": (217, "D"), "inotify_add_watch": (254, "DP"), "openat": (257, "DP"),
    "mkdirat": (258, "DP"), "fchownat": (260, "DP"), "newfstatat": (262, "DP"), "unlinkat": (263, "DP"),
    "renameat": (264, "DP"), "linkat": (265, "DP"), "fchmodat": (268, "DP"), "renameat2": (316, "DP"),
    "copy_file_range": (326, "D"), "statx": (332, "DP"), "openat2": (437, "DP"),
}
NAMES = {number: name for name, (number, _) in CALLS.items()}

SYS_SECCOMP, SET_MODE_FILTER, FLAG_NEW_LISTENER = 317, 1, 1 << 3
PR_SET_NO_NEW_PRIVS = 38
ARCH_X86_64 = 0xC000003E
RET_ALLOW, RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
OFFSET_OF_NUMBER, OFFSET_OF_ARCH = 0, 4
NOTIF_RECV, NOTIF_SEND, NOTIF_ADDFD = 0xC0502100, 0xC0182101, 0x40182103
# id, pid, flags; number, arch, instruction, six arguments.
NOTIFICATION = struct.Struct("=QIIiIQ6Q")
# id, value, error, flags.
RESPONSE = struct.Struct("=QqiI")
CONTINUE = 1
# id, flags, ours, theirs, flags of theirs.
ADDED = struct.Struct("=QIIII")
IN_PLACE = 1
AT_FDCWD = -100
PATH_MAX = 4096


class Call:
    """A system call that waits for our word."""

    def __init__(self, listener, identity, pid, number, arguments):
        self.listener, self.identity = listener, identity
        self.pid, self.name, self.arguments = pid, NAMES[number], arguments

    def close_quietly(self):
        """Takes the file away from the descriptor that is to be closed, and leaves a descriptor of nothing."""
        with open(os.devnull, "rb") as nothing:
            added = ADDED.pack(self.identity, IN_PLACE, nothing.fileno(), self.arguments[0] & 0xFFFFFFFF, os.O_CLOEXEC)
            fcntl.ioctl(self.listener, NOTIF_ADDFD, bytearray(added))

    def path(self):
        """The file that it is about; None where that has none, as a socket."""
        kind = CALLS[self.name][1]
        if kind == "D":
            return self.of_descriptor(self.arguments[0])
        name = self.text_at(self.arguments[0 if kind == "P" else 1])
        if name.startswith("/"):
            return name
        start = self.of_descriptor(self.arguments[0]) if kind == "DP" else self.link("cwd")
        return os.path.join(start, name) if start and name else start

    def of_descriptor(self, descriptor):
        # The argument is an int, whatever the upper half of the register holds.
        descriptor = ctypes.c_int(descriptor & 0xFFFFFFFF).value
        return self.link("cwd" if descriptor == AT_FDCWD else f"fd/{descriptor}")

    def link(self, name):
        try:
            path = os.readlink(f"/proc/{self.pid}/{name}")
        except OSError:
            return None
        return path.removesuffix(" (deleted)") if path.startswith("/") else None

    def text_at(self, address):
        if address == 0:
            return ""
        # Not over the end of a page, behind which there may be nothing.
        length = min(PATH_MAX, 4096 - address % 4096)
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            text = memory.read(length)
            if b"\0" not in text:
                text += memory.read(PATH_MAX - length)
        return os.fsdecode(text.partition(b"\0")[0])

    def program(self):
        """The file name of the program that makes the call."""
        return os.path.basename(self.link("exe") or "")


def supervise(command, names, decide, **options):
    """Runs the command to its end; gives its exit code.

    `decide` is asked for each call of these names: None lets it pass, 0 has it do nothing and succeed, and any other
    number is the error that it fails with.
    """
    if platform.machine() != "x86_64":
        sys.exit("the numbers of system calls are known for x86-64 only")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    numbers = ",".join(str(CALLS[name][0]) for name in names)
    starter = [sys.executable, "-I", "-S", os.path.abspath(__file__), "--install", f"{theirs.fileno()}:{numbers}", "--"]
    with subprocess.Popen([*starter, *command], pass_fds=[theirs.fileno()], **options) as process:
        theirs.close()
        for asked in (signal.SIGTERM, signal.SIGINT):
            signal.signal(asked, lambda number, _: process.send_signal(number))
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        if not descriptors:
            sys.exit("the filter could not be installed")
        answer_all(descriptors[0], decide)
    return process.returncode


def answer_all(listener, decide):
    """Answers until nobody is left who could ask."""
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    while True:
        if any(event & select.POLLHUP for _, event in waiting.poll()):
            return
        asked = bytearray(NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, NOTIF_RECV, asked)
        except OSError as error:
            # Whoever asked has been killed, or interrupted by a signal.
            if error.errno in (errno.ENOENT, errno.EINTR):
                continue
            raise
        identity, pid, _, number, _, _, *arguments = NOTIFICATION.unpack(asked)
        error = decide(Call(listener, identity, pid, number, arguments))
        answer = RESPONSE.pack(identity, 0, -(error or 0), CONTINUE if error is None else 0)
        try:
            fcntl.ioctl(listener, NOTIF_SEND, bytearray(answer))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise


def install(place, command):
    """In the new process: installs the filter, hands its listener over, becomes the command."""
    channel, _, numbers = place.partition(":")
    channel = socket.socket(fileno=int(channel))
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0:
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    program = filter_of([int(number) for number in numbers.split(",")])
    buffer = ctypes.create_string_buffer(program)
    header = ctypes.create_string_buffer(struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(buffer)))
    message = ([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
    listener = libc.syscall(SYS_SECCOMP, SET_MODE_FILTER, FLAG_NEW_LISTENER, header)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    message[1][0][2][0] = listener
    # From here on somebody must answer: nothing but this may be called before the listener is theirs.
    channel.sendmsg(*message)
    os.execvp(command[0], command)


def filter_of(numbers):
    """A BPF program that asks for these system calls, and lets all others pass."""
    def step(code, true, false, value):
        return struct.pack("=HBBI", code, true, false, value)

    steps = [
        step(LOAD, 0, 0, OFFSET_OF_ARCH), step(JUMP_IF_EQUAL, 1, 0, ARCH_X86_64), step(RETURN, 0, 0, RET_ALLOW),
        step(LOAD, 0, 0, OFFSET_OF_NUMBER),
    ]
    for index, number in enumerate(numbers):
        steps.append(step(JUMP_IF_EQUAL, len(numbers) - index, 0, number))
    return b"".join([*steps, step(RETURN, 0, 0, RET_ALLOW), step(RETURN, 0, 0, RET_USER_NOTIF)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--skip-fsync", metavar="PATTERN")
    how.add_argument("--list", metavar="BELOW")
    how.add_argument("--install", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    if arguments.install:
        install(arguments.install, arguments.command)
    if arguments.skip_fsync:
        pattern = re.compile(arguments.skip_fsync)
        sys.exit(supervise(
            arguments.command, ["fsync", "fdatasync"], lambda call: 0 if pattern.search(call.path() or "") else None
        ))
    sys.exit(supervise(arguments.command, list(CALLS), lambda call: print_call(call, arguments.list)))


def print_call(call, below):
    path = call.path()
    if path and path.startswith(below):
        print(call.name, path.removeprefix(below), flush=True)


if __name__ == "__main__":
    main()
