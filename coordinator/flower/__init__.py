"""All parts of the coordinator that use Flower (``docs/flower.md``).

Flower reads its switches for telemetry and update checks once, when it is first imported, so this
package sets them before any of its modules imports ``flwr``. ``clients`` and ``simulations`` import
:mod:`coordinator.flower.environment` for the same reason.
"""

import coordinator.flower.environment  # noqa: F401
