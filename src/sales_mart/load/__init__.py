"""Stop `load`: the sealed rows become the raw table's, one transaction per warehouse."""
