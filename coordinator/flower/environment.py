"""Turn off Flower's telemetry and update check; import before anything of ``flwr``.

A value already in the environment wins, so that an operator can decide otherwise.
"""

import os
import sys

from coordinator.protocol.wire import FLOWER_ENVIRONMENT

for _name, _value in FLOWER_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

if (_telemetry := sys.modules.get("flwr.supercore.telemetry")) is not None:
    # Flower reads the variable once, at import, and was imported before this module.
    vars(_telemetry)["FLWR_TELEMETRY_ENABLED"] = os.environ["FLWR_TELEMETRY_ENABLED"]
