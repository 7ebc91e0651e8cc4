"""`python -m milvus_ichash`: the command line."""

from milvus_ichash.cli import main

main()
