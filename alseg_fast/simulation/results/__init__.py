"""What simulations found: rows on disk, means and spreads over seeds, the published figures beside them, one page.

Needs neither torch nor a network.
"""
