"""Benchmarks, one file each; a file registers itself when it is imported."""

import os

# As the `traffic` command does, and before numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
