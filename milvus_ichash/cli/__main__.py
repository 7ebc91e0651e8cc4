"""`python -m milvus_ichash.cli` is the program too."""

from milvus_ichash.cli import main

main()
