"""The parts of ``benchmarks.tune``: what can be chosen, how it is searched for, and the trial models that it is measured with."""
