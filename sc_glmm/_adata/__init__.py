"""Access to AnnData: objects and files, their matrices, tables and results, and the locks of files."""
