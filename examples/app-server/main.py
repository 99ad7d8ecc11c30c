#!/usr/bin/env python3
"""Runs the program that a request is for: its "api" names the folder beside this one.

    main.py REQUEST_FILE RESPONSE_FILE
"""

import json
import pathlib
import runpy
import sys

PROGRAMS = pathlib.Path(__file__).resolve().parent.parent


def main(request_file, response_file):
    with open(request_file, encoding="utf-8") as file:
        api = json.load(file)["api"]
    program = PROGRAMS / api / "main.py"
    if not program.is_file():
        sys.exit(f"there is no program for the api {api!r}")
    runpy.run_path(str(program), run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
