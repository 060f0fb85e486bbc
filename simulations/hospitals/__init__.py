"""A whole federation on one machine: a coordinator and four hospitals, in separate processes."""
