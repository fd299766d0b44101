"""The arrow: a head of nested grouping factors that eliminates without fill, and a dense border."""
