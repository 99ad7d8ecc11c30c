"""Whether a process made only system calls that a unit's SystemCallFilter permits.

    lab_calls.py UNIT STRACE_OUTPUT

A filter that ends the agent, or makes a call of it fail, shows only on a computer that systemd runs; this shows it before.
"""

import re
import subprocess
import sys


def calls_of(group):
    """The system calls of one of systemd's groups, such as @system-service, and of those within it."""
    listed = subprocess.run(["systemd-analyze", "syscall-filter", group], check=True, capture_output=True, text=True)
    names = [line.strip() for line in listed.stdout.splitlines()[1:]]
    return {call for name in names if name and not name.startswith("#") for call in expanded(name)}


def expanded(name):
    return calls_of(name) if name.startswith("@") else {name}


def permitted_by(unit):
    # What systemd itself always permits.
    permitted = calls_of("@default")
    for value in re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE):
        calls = {call for name in value.lstrip("~").split() for call in expanded(name)}
        permitted = permitted - calls if value.startswith("~") else permitted | calls
    return permitted


def main(unit, trace):
    with open(unit, encoding="utf-8") as file:
        permitted = permitted_by(file.read())
    with open(trace, encoding="utf-8", errors="replace") as file:
        made = set(re.findall(r"^\d+ +(\w+)\(", file.read(), re.MULTILINE))
    # By these calls the trace shows that there was work: files changed places, and something was sent.
    assert {"renameat2", "fsync", "sendto", "execve"} <= made, f"the agent did too little: {sorted(made)}"
    # systemd's own way to the agent's first instruction is before the filter.
    refused = sorted(made - permitted)
    assert not refused, f"the unit refuses {refused}"
    print(f"{len(made)} made, all of them among the {len(permitted)} permitted")


main(*sys.argv[1:])
