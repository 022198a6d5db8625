"""Selection strategies by name. A new one is a class that fits `base.Strategy` and an entry here."""

from __future__ import annotations

from .base import Candidates, Picks, Ranking, Request, Strategy, id_hashes, numbered_hashes
from .top import RandomDraw, TopScore

STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in (TopScore(), RandomDraw())}

__all__ = ["STRATEGIES", "Candidates", "Picks", "Ranking", "Request", "Strategy", "id_hashes", "numbered_hashes"]
