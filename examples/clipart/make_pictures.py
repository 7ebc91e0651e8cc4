"""Make `pictures.parquet`, the compact copy of the clip art, from a larger copy of it.

    python make_pictures.py openclipart.parquet pictures.parquet

The input has one row for each picture: `id` (path in the collection), `image` (bytes of a picture file), `title`,
`tags`, `labels`. It was made from Debian's packages openclipart-png and openclipart-svg (1:0.18+dfsg-19): pictures of
the folders that hold at least 60, scaled to 96 pixels on the longest side; titles and tags from the metadata of the
SVG files; the names of the folders on the path as labels. Here the pictures are put on white and written as WebP of
quality 80, which fits them into 8 MB.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def on_white(picture: bytes) -> bytes:
    """The picture without transparency, as WebP."""
    drawn = Image.open(io.BytesIO(picture)).convert("RGBA")
    paper = Image.new("RGBA", drawn.size, "white")
    paper.alpha_composite(drawn)
    result = io.BytesIO()
    paper.convert("RGB").save(result, "WEBP", quality=80, method=6)
    return result.getvalue()


def main(source: Path, target: Path) -> None:
    table = pq.read_table(source)
    pictures = pa.array([on_white(picture.as_py()) for picture in table["image"]], pa.binary())
    column = table.schema.get_field_index("image")
    pq.write_table(table.set_column(column, "picture", pictures), target, compression="zstd", compression_level=19)
    print(f"{target}: {table.num_rows} pictures, {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
