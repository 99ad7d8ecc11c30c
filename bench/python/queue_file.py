"""status.json rewritten as the specification does it."""

import json
import os


def rewrite(path, status):
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(status, file, indent=2, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
