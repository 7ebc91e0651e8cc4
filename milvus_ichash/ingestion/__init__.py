"""Ingestion: from a feature source through the encoder into Milvus, or into files that Milvus imports."""
