"""Commands of whoever watches a federation with an account of its own."""
