"""`python -m dlrm_core.cli`."""

from dlrm_core.cli import entry_point

entry_point()
