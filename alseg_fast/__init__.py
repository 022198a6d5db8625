"""alseg-fast: active learning for image segmentation at the speed of the hardware.

Public names load on first use, so that ``import alseg_fast`` stays cheap; see ``__init__.pyi`` for the list.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
