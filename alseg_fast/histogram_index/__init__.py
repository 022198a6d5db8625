"""Exact nearest neighbours of histograms under the Jensen-Shannon divergence, class by class."""

from .index import HistogramIndex
from .result import SearchResult, SearchStats

__all__ = ["HistogramIndex", "SearchResult", "SearchStats"]
