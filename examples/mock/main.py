#!/usr/bin/env python3
"""A program that does nothing, for as long and as badly as you like: the APP server's mock.

    main.py REQUEST_FILE RESPONSE_FILE

The request's "input", all of it optional:

    {"seconds": 2.5, "fail_rate": 0.1, "size_bytes": 1000, "payload": "anything, comes back"}
"""

import json
import os
import random
import sys
import time


def main(request_file, response_file):
    with open(request_file, encoding="utf-8") as file:
        request = json.load(file)
    wishes = request["input"] if isinstance(request["input"], dict) else {}
    time.sleep(wishes.get("seconds", 0))
    if random.random() < wishes.get("fail_rate", 0):
        sys.exit("the mock failed, as it was asked to now and then")
    response = {"uuid": request["uuid"], "payload": wishes.get("payload"), "padding": ""}
    missing = wishes.get("size_bytes", 0) - len(json.dumps(response).encode())
    response["padding"] = "x" * max(0, missing)
    staged = f"{response_file}.part"
    with open(staged, "w", encoding="utf-8") as file:
        json.dump(response, file, allow_nan=False)
    os.replace(staged, response_file)


if __name__ == "__main__":
    main(*sys.argv[1:])
