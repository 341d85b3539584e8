"""``scripts/bench``: one command that measures a published model on this machine, and one report of it."""
