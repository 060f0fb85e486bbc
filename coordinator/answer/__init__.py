"""The other side of a dispute: an honest coordinator that answers what it is asked."""
