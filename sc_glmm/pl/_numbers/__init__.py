"""Numbers of the figures: from tables of results to what is drawn. Nothing here knows matplotlib."""
