"""``python -m alseg_fast`` is ``alseg``."""

import sys

from .cli import main

sys.exit(main())
