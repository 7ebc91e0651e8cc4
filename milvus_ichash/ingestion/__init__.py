"""Ingestion: from a feature source through the encoder into Milvus, or into files that Milvus imports.

into_milvus           `ingest`: encode a source and write it into a collection
into_files            `to_parquet`: encode a source into files for bulk import
bulk_import           `import_files`: have a server import these files
resuming              where a run that was killed goes on
target_collection     the collection that is written to: checked, or made
first_pass            ids and sizes of payload, looked at before anything is written
batch_maker           rows of a source -> batches of a collection
payload, label_lists  further columns and labels, as a collection holds them
background_writing    the next batches are made while one is written
id_sample             ids that are looked up again in the end
"""
