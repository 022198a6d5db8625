__version__: str

from .dispatch import use_backend as use_backend
from .engine import PoolSummary as PoolSummary
from .engine import Scorer as Scorer
from .engine import ScoreResult as ScoreResult
from .errors import AlsegError as AlsegError
from .ops import belharbi_entropy as belharbi_entropy
from .ops import belharbi_mc_dropout as belharbi_mc_dropout
from .ops import decode_regions as decode_regions
from .ops import decode_rle as decode_rle
from .ops import edge_map as edge_map
from .ops import edge_weighted as edge_weighted
from .ops import encode_mask as encode_mask
from .ops import encode_rle as encode_rle
from .ops import region_impurity as region_impurity
from .ops import uncertainty as uncertainty
from .reporting import make_report as make_report
from .runtimes.options import ModelOptions as ModelOptions
from .stages.pool import Pool as Pool
from .stages.pool import open_pool as open_pool
from .stages.select import select as select
from .stages.store import Run as Run
from .stages.store import open_run as open_run
from .types import Uncertainty as Uncertainty
