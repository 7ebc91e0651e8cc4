"""`milvus-ichash train`."""


def train() -> None:
    """To be written."""
