"""The index: hash codes in a Milvus collection, written, searched by Hamming distance, and read back."""
