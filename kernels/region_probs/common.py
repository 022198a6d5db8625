"""What the implementations share: bits of the status."""

NOT_FINITE, OUT_OF_RANGE, BAD_SEGMENT = 1, 2, 4
