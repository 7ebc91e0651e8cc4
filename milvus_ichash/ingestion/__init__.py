"""Ingestion: from a feature source through the encoder into Milvus, or into files that Milvus imports.

into_milvus           `ingest`: encode a source and write it into a collection
into_files            `to_parquet`: encode a source into files for bulk import
bulk_import           `import_files`: have a server import these files
resuming              where a run that was killed goes on
target_collection     the collection that is written to: checked, or made
batch_maker           rows of a source -> batches of a collection
background_writing    the next batches are made while one is written
"""
