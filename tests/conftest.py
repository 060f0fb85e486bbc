"""One profile for properties: the usual number of examples, or 10,000 with ``FEDPROOF_FUZZ=1``."""

from histories import examples
from hypothesis import settings

settings.register_profile("fedproof", max_examples=examples(100))
settings.load_profile("fedproof")
