"""The order of things: one short flow a pipeline, the job documents, the command line."""
