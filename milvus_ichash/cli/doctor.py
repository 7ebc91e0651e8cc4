"""`milvus-ichash doctor`."""


def doctor() -> None:
    """To be written."""
