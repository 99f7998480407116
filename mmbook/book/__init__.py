"""What only chapters use: datasets, recipes (long trainings, kept), and what a chapter writes out."""

from mmbook.extras import need

need("chapters", __name__)
