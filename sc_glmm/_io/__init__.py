"""Matrices that stay where they are, on disk or in dask arrays, and results written into files: h5py and zarr."""
