"""Simulators of the NVIDIA programs that cannot run without a GPU; none of NVIDIA's code is in here.

They exist so that the real compose file, builder and configurations can be run end to end on any machine. They are
strict: what the real program refuses, they refuse, in its words where these are public. What they compute, they
compute with ONNX Runtime on the CPU, so speed and precision of a simulated engine mean nothing.
"""
