from .engine import Scorer as Scorer

__version__: str

from .engine import ScoreResult as ScoreResult
from .errors import AlsegError as AlsegError
from .ops import uncertainty as uncertainty
from .stages.select import select as select
from .types import Uncertainty as Uncertainty
