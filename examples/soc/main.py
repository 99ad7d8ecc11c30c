#!/usr/bin/env python3
"""State of charge of a battery, by coulomb counting from a measured current series.

    main.py REQUEST_FILE RESPONSE_FILE

The request's "input":

    {"capacity_ah": 50.0, "initial_soc_percent": 80.0, "charge_efficiency": 0.99,
     "samples": [{"time_s": 0, "current_a": -12.5}, ...]}

Current is positive while the battery charges. The response:

    {"soc_percent": 71.2, "lowest_soc_percent": ..., "charge_ah": ..., "duration_s": ...,
     "series": [{"time_s": 0, "soc_percent": 80.0}, ...]}
"""

import json
import os
import sys

SECONDS_PER_HOUR = 3600


def check(is_so, message):
    if not is_so:
        sys.exit(f"bad input: {message}")


def state_of_charge(capacity_ah, initial_soc_percent, samples, charge_efficiency=1.0):
    check(capacity_ah > 0, "capacity_ah must be greater than 0")
    check(0 <= initial_soc_percent <= 100, "initial_soc_percent must be between 0 and 100")
    check(0 < charge_efficiency <= 1, "charge_efficiency must be greater than 0 and at most 1")
    check(len(samples) >= 2, "samples must have at least two entries")

    charge_ah = 0.0
    soc = initial_soc_percent
    series = [soc]
    for before, after in zip(samples, samples[1:]):
        seconds = after["time_s"] - before["time_s"]
        check(seconds > 0, f"time_s must rise, but {after['time_s']} follows {before['time_s']}")
        ampere_hours = (before["current_a"] + after["current_a"]) / 2 * seconds / SECONDS_PER_HOUR
        stored_ah = ampere_hours * (charge_efficiency if ampere_hours > 0 else 1.0)
        charge_ah += stored_ah
        # A battery is never more than full, and what it could not store does not come back.
        soc = min(100.0, max(0.0, soc + 100 * stored_ah / capacity_ah))
        series.append(soc)

    return {
        "soc_percent": round(series[-1], 3),
        "lowest_soc_percent": round(min(series), 3),
        "charge_ah": round(charge_ah, 4),
        "duration_s": samples[-1]["time_s"] - samples[0]["time_s"],
        "series": [
            {"time_s": sample["time_s"], "soc_percent": round(soc, 3)} for sample, soc in zip(samples, series)
        ],
    }


def main(request_file, response_file):
    with open(request_file, encoding="utf-8") as file:
        request = json.load(file)
    try:
        response = state_of_charge(**request["input"])
    except (KeyError, TypeError) as error:
        sys.exit(f"bad input: {error}")
    # Write aside, then rename: nobody sees half a response.
    staged = f"{response_file}.part"
    with open(staged, "w", encoding="utf-8") as file:
        json.dump(response, file, allow_nan=False)
    os.replace(staged, response_file)


if __name__ == "__main__":
    main(*sys.argv[1:])
