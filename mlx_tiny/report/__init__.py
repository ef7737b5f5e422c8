"""The report of a run: how good its model is, what it cost, and how it was trained."""
