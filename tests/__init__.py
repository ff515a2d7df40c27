"""Tests run in processes beside each other: threads of linear algebra would wait for each other, six times as long."""

import os

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
