"""File systems in files, and machines that run on them until their power is cut.

The images lie on a shelf, an xfs that shares extents: there a copy of an image takes a moment, and is the image as it
was at one moment. What such a copy has is what the file system inside had handed to its disk by then. What that still
held in its page cache is not in the copy: a power cut loses just that. (A disk that also loses what it has
acknowledged, until it is told to flush, is not played: ext4 and xfs flush at each fsync, which is relied on here.)
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import tempfile
import uuid

from proofs import sandbox

FICLONE = 0x40049409
SHELF_BYTES = 24 << 30
# The smallest that mkfs.xfs makes; sparse.
IMAGE_BYTES = 320 << 20

# How each file system is made, and the ways to mount it: how soon it writes by itself, and whether it helps programs
# that do not sync (auto_da_alloc), are not ours to choose in a lab.
FILE_SYSTEMS = {
    "ext4": (
        ["mkfs.ext4", "-q", "-F"],
        ["commit=1", "commit=5", "commit=1,noauto_da_alloc", "commit=30,noauto_da_alloc", "data=writeback"],
    ),
    "xfs": (["mkfs.xfs", "-q", "-f"], ["nouuid", "nouuid,logbsize=256k", "nouuid,wsync"]),
}


class Shelf:
    """A file system in a file, mounted, with room for many copies. `close` removes all of it."""

    def __init__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="power-cuts-"))
        image = self.home / "shelf.img"
        make_image(image, SHELF_BYTES, ["mkfs.xfs", "-q", "-m", "reflink=1"])
        self.path = self.home / "shelf"
        self.path.mkdir()
        run("mount", "-o", "loop", image, self.path)

    def close(self):
        run("umount", "--lazy", self.path)
        shutil.rmtree(self.home)


def mount_point():
    return pathlib.Path(tempfile.gettempdir(), "lab")


def make_image(path, size_bytes, mkfs):
    with open(path, "wb") as file:
        file.truncate(size_bytes)
    run(*mkfs, path)


def clone(source, target):
    """Copies a file as it is at one moment, without its data being copied."""
    with open(source, "rb") as original, open(target, "wb") as copy:
        fcntl.ioctl(copy, FICLONE, original.fileno())


def clone_tree(source, target):
    run("cp", "-a", "--reflink=always", source, target)


# $1 image, $2 mount options, $3 where to, $4 a folder for what is found there, $5 this boot's id; then commands, a line
# each. As the first process of a process namespace of its own: when it ends, so does all of the machine.
BOOT = """
set -e
mount -o "loop,$2" "$1" "$3"
mount --bind "$5" /proc/sys/kernel/random/boot_id
mkdir -p "$4"
if [ -e "$3/shared/request" ]; then cp -a "$3/shared/request" "$4/"; fi
if [ -e "$3/shared/response" ]; then ls -a "$3/shared/response" >"$4/responses"; fi
mkdir -p "$3/shared"
shift 5
for command in "$@"; do sh -c "$command" & done
wait
# What has ended early is looked at by whoever waits for the machine.
sleep infinity
"""


class Machine:
    """A lab's computer: mounts an image and runs these shell commands on it, until `cut`.

    It has mounts and processes of its own, and the id of a boot of its own, as after a real start: process ids begin
    anew, so that those of an earlier life come again. All machines mount at the same place, each for itself: not on the
    shelf, whose end would wait for the image's, and that for the shelf's.
    """

    def __init__(self, image, options, home, commands, environment):
        self.home = pathlib.Path(home)
        self.mount_point = mount_point()
        self.mount_point.mkdir(exist_ok=True)
        boot_id = self.home / "boot_id"
        boot_id.write_text(f"{uuid.uuid4()}\n")
        self.found = self.home / "found"
        arguments = [image, options, self.mount_point, self.found, boot_id, *commands]
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]
        environment = {**environment, "BCRLAPI_SHARED": str(self.shared_inside())}
        with open(self.home / "machine.log", "ab") as log:
            self.process = subprocess.Popen(
                [*namespaces, "bash", "-c", BOOT, "boot", *arguments],
                cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment,
            )

    def shared_inside(self):
        """The shared directory's path, as the machine sees it."""
        return self.mount_point / "shared"

    def shared(self):
        """The shared directory, from outside; None as long as it is not mounted."""
        for child in sandbox.children(self.process.pid):
            path = pathlib.Path(f"/proc/{child}/root{self.shared_inside()}")
            if path.exists():
                return path
        return None

    def log(self):
        return (self.home / "machine.log").read_text(errors="replace")

    def cut(self):
        self.process.kill()
        self.process.wait()


def run(*command):
    """What it has written; fails with that if it fails."""
    done = subprocess.run([os.fspath(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise RuntimeError(f"{command} failed: {done.stdout.decode(errors='replace')}")
    return done.stdout.decode()
