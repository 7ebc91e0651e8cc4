"""`milvus-ichash evaluate`."""


def evaluate() -> None:
    """To be written."""
