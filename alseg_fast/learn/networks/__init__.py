"""Encoders, classification heads and segmentation decoders, and the networks built of them."""
