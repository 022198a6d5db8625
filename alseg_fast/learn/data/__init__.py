"""Data sets in their published layouts, transforms that treat picture and mask alike, and reproducible batches."""
