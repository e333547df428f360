"""Makes the tools in ``integration/`` importable: they are part of the checkout, not of the package."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
