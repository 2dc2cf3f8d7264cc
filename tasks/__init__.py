"""Where work meets the world: the one place where a pass meets store, lineage, GPU and Prefect."""
