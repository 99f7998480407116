"""What only chapters use: datasets, recipes (long trainings, kept), and what a chapter writes out."""
