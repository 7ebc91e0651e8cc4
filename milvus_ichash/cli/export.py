"""`milvus-ichash export`."""


def export() -> None:
    """To be written."""
