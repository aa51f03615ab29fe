"""What every test wants."""

from __future__ import annotations

import pytest
import structlog


@pytest.fixture(autouse=True)
def _quiet_log() -> None:
    """The log is not what tests print; `structlog.testing.capture_logs` still sees it, whatever a command before has left out."""
    structlog.reset_defaults()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
