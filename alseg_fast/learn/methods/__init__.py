"""The published recipes, one module each, on top of `alseg_fast.learn.training`."""
