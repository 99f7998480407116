"""Datasets from your own arrays, files, tables and tar shards; rows are dicts by modality."""

from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.data.files import FileDataset, FilesSkipped, Skipped
from mmbook.data.fsdd import FSDD
from mmbook.data.shard_index import ShardIndex, index_shards
from mmbook.data.shard_table import shard_csv
from mmbook.data.shard_writer import write_shards
from mmbook.data.shards import ShardDataset
from mmbook.moved import moved_names

__all__ = [
    "FSDD",
    "ArrayDataset",
    "FileDataset",
    "FilesSkipped",
    "ShardDataset",
    "ShardIndex",
    "Skipped",
    "from_arrays",
    "index_shards",
    "shard_csv",
    "write_shards",
]

__getattr__ = moved_names(__name__)
