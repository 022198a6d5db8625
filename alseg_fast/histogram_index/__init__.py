"""Exact nearest neighbours of histograms under the Jensen-Shannon divergence, class by class."""
