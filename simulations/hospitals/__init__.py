"""A whole federation on one machine: a coordinator and four hospitals, each its own processes."""
