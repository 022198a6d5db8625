"""The published losses as functions of tensors; each has a plain reference in the tests."""
