"""From document keys to stored records: read, run the pipeline, write."""
