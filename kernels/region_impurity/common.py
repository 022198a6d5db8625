"""Bits of the status that every implementation returns."""

NOT_FINITE, BAD_LABEL = 1, 2
