"""What the GPU computes: pictures and tensors in, pictures and tensors out. No Prefect, no database, no S3."""
