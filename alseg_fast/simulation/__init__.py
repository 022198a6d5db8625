"""Active-learning loops on labelled data: what a strategy would have bought, and what it would have been worth.

Every round goes through the same public functions and commands that a user has. Needs torch (the extra ``train``).
"""
