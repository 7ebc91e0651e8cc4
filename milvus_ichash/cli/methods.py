"""`milvus-ichash methods`."""


def methods() -> None:
    """To be written."""
