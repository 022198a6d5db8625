"""Activation maps of trained classifiers, and the training tricks that make them cover the whole object."""
