"""What the three clients write: the readings of one device each, and how they are called.

A script is run as `SCRIPT.py write|partial|unauthorized` with HELIOGRAPH_URL and HELIOGRAPH_SITE_TOKEN
in its environment, and prints one JSON value: what it wrote, as [device, metric, ts_ms, value], or
the exception that its client raised.
"""

import json
import os
import sys
from datetime import datetime, timedelta, timezone

URL = os.environ["HELIOGRAPH_URL"]
TOKEN = os.environ["HELIOGRAPH_SITE_TOKEN"]
START = datetime(2025, 10, 5, tzinfo=timezone.utc)
# A float, an integer, a boolean and a state: all become numbers.
FIELDS = {"ac_power": 48210.5, "ac_energy_total": 123456789, "fault": False,
          "operating_state": "MPPT"}
NUMBERS = {"ac_power": 48210.5, "ac_energy_total": 123456789.0, "fault": 0.0,
           "operating_state": 4.0}
# Two lines of which the second is bad: a string where a number belongs.
PARTIAL = ['inverter,device=good ac_power=1.5 1759622400000000000',
           'inverter,device=bad ac_power="much" 1759622400000000000']


def time_of(minute):
    return START + timedelta(minutes=minute)


def ts_ms(minute):
    return int(time_of(minute).timestamp() * 1000)


def readings(device, minute, numbers=NUMBERS):
    return [[device, metric, ts_ms(minute), value] for metric, value in numbers.items()]


def run(write, partial, unauthorized):
    """Does what the command line says and prints what came of it."""
    what = sys.argv[1]
    if what == "write":
        print(json.dumps(write()))
        return
    try:
        partial() if what == "partial" else unauthorized()
    except Exception as error:  # whatever the client raises is what is asked for
        print(json.dumps({"type": type(error).__name__, "text": str(error)}))
        return
    sys.exit(f"{what}: the client raised nothing")
