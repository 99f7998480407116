"""Datasets from your own arrays, tables, folders and tar shards; rows are dicts by modality."""

from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.data.files import FileDataset, FilesSkipped, Skipped
from mmbook.data.folders import Folder, open_files
from mmbook.data.fsdd import FSDD
from mmbook.data.labels import Labels
from mmbook.data.shard_format import ShardIndex
from mmbook.data.shard_writer import write_shards
from mmbook.data.shards import ShardDataset, index_shards
from mmbook.data.tables import Table, labelled_files
from mmbook.moved import moved_names

__all__ = [
    "FSDD", "ArrayDataset", "FileDataset", "FilesSkipped", "Folder", "Labels", "ShardDataset", "ShardIndex",
    "Skipped", "Table", "from_arrays", "index_shards", "labelled_files", "open_files", "write_shards",
]  # fmt: skip

__getattr__ = moved_names(__name__)
