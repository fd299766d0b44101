"""Convert the files of seurat_to_files.R to an AnnData: python files_to_h5ad.py FOLDER out.h5ad."""

import sys
from pathlib import Path

import anndata as ad
import pandas as pd
from scipy.io import mmread

folder, out = Path(sys.argv[1]), sys.argv[2]
cells = pd.read_csv(folder / "cells.csv", index_col=0)
genes = pd.DataFrame(index=(folder / "genes.txt").read_text().splitlines())
counts = mmread(folder / "counts.mtx").T.tocsr()
ad.AnnData(layers={"counts": counts}, obs=cells, var=genes).write_h5ad(out)
