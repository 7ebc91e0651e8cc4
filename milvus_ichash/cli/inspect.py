"""`milvus-ichash inspect`."""


def inspect() -> None:
    """To be written."""
