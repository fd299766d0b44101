# Write a Seurat object (or a SingleCellExperiment) as plain files for files_to_h5ad.py, without a package for AnnData.
write_counts <- function(object, folder) {
  dir.create(folder, showWarnings = FALSE)
  if (inherits(object, "Seurat")) {
    counts <- SeuratObject::GetAssayData(object, "counts") # raw counts, not normalised data
    cells <- object[[]]
  } else {
    counts <- SingleCellExperiment::counts(object)
    cells <- as.data.frame(SingleCellExperiment::colData(object))
  }
  Matrix::writeMM(as(counts, "CsparseMatrix"), file.path(folder, "counts.mtx"))
  write.csv(cells, file.path(folder, "cells.csv"))
  writeLines(rownames(counts), file.path(folder, "genes.txt"))
}
