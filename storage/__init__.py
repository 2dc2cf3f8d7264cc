"""What is remembered: artifacts, tables, lineage, settings. No torch, no Prefect."""
