"""The only clock: quiet-moment timing, medians and spread, and what the machine was."""
