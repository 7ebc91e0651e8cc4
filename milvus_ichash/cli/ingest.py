"""`milvus-ichash ingest`."""


def ingest() -> None:
    """To be written."""
