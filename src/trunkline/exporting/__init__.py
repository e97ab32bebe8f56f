"""A feature set as one plain file: HDF5, Parquet or .npy."""
