"""Sources: what images there are, which label and split they have, and their bytes.

A source is a folder, a glob, a table of URIs, tar shards, or Parquet files with image bytes; `source_of` makes what a spec asks for.
"""

from trunkline.sources.base import IMAGE_SUFFIXES, Listed, Source
from trunkline.sources.choosing import bound, is_same, source_of
from trunkline.sources.folder import FolderSource, GlobSource
from trunkline.sources.layout import Layout, hashed_split, layout_of, top_folder
from trunkline.sources.parquet_images import BytesSource
from trunkline.sources.table import TableSource
from trunkline.sources.tar import TarSource

__all__ = [
    "IMAGE_SUFFIXES",
    "BytesSource",
    "FolderSource",
    "GlobSource",
    "Layout",
    "Listed",
    "Source",
    "TableSource",
    "TarSource",
    "bound",
    "hashed_split",
    "is_same",
    "layout_of",
    "source_of",
    "top_folder",
]
