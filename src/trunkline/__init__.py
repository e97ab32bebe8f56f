"""trunkline turns folders, tables and buckets of images into features that ML teams can read, and keeps them up to date."""

from trunkline.reader import Features, open_features

__all__ = ["Features", "open_features"]
