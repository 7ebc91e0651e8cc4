"""`milvus-ichash query`."""


def query() -> None:
    """To be written."""
