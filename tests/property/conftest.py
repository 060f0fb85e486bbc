"""No deadlines: the first example of a kernel pays for its compilation."""

from histories import examples
from hypothesis import HealthCheck, settings

settings.register_profile(
    "properties",
    deadline=None,
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("properties")
