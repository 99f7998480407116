"""Timings of ours against the references, run by ``make bench`` and by nothing else."""
