"""Inference sessions: from a model file and images to scores."""
