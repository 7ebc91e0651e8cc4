"""Show pictures beside search results, as one HTML file that needs nothing else, and as one picture.

python page.py pictures.parquet searches/ page.html sheet.png
"""

from __future__ import annotations

import base64
import html
import io
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pyarrow.parquet as pq
from PIL import Image

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>milvus-ichash: clip art</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #222 }}
h2 {{ margin: 2rem 0 .5rem; font-size: 1.1rem; display: flex; align-items: center; gap: .75rem }}
h2 img {{ height: 72px; border: 1px solid #ccc; border-radius: 6px; padding: 4px }}
.hits {{ display: flex; flex-wrap: wrap; gap: .75rem }}
figure {{ margin: 0; width: 10.5rem; border: 1px solid #ddd; border-radius: 6px; padding: .5rem; text-align: center }}
figure img {{ height: 96px; max-width: 100%; object-fit: contain }}
figcaption {{ font-size: .8rem; overflow-wrap: anywhere }}
small {{ color: #666 }} mark {{ background: #ffe9b0; border-radius: 3px; padding: 0 .3em }}
</style>
<h1>Searches by Hamming distance</h1>
<p>{codes} pictures, found by their hash codes alone. <mark>missing: text</mark> means that the picture had no words:
its code was made from the picture and from words completed by the network.</p>
{sections}
</html>
"""


def embedded(picture: bytes) -> str:
    return f'<img alt="" src="data:image/webp;base64,{base64.b64encode(picture).decode()}">'


def figure(hit: dict[str, Any], pictures: dict[str, bytes]) -> str:
    missing = f"<br><mark>missing: {html.escape(str(hit['missing']))}</mark>" if hit.get("missing") else ""
    title = html.escape(str(hit.get("title") or hit["id"]))
    picture = embedded(pictures[hit["id"]])
    caption = f"{title}<br><small>distance {hit['distance']}</small>{missing}"
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def is_picture(query: str) -> bool:
    try:
        return Path(query).is_file()
    except OSError:  # words that are too long for the name of a file
        return False


def section(hits: list[dict[str, Any]], pictures: dict[str, bytes]) -> str:
    query = str(hits[0]["query"])
    shown = (
        embedded(Path(query).read_bytes()) + " this picture, no words"
        if is_picture(query)
        else html.escape(f"“{query}”")
    )
    return f'<h2>{shown}</h2><div class="hits">{"".join(figure(hit, pictures) for hit in hits)}</div>'


def write_sheet(results: list[list[dict[str, Any]]], pictures: dict[str, bytes], sheet: Path, columns: int = 8) -> None:
    """Draw one row for each search: the query, then its first hits with their distances."""
    canvas, axes = plt.subplots(len(results), columns, figsize=(columns * 1.15, len(results) * 1.25), squeeze=False)
    for row, hits in zip(axes, results, strict=True):
        query = str(hits[0]["query"])
        if is_picture(query):
            row[0].imshow(Image.open(query))
            row[0].set_title("this picture", fontsize=8)
        else:
            row[0].text(0.5, 0.5, f"“{query}”", ha="center", va="center", fontsize=9, wrap=True, parse_math=False)
        for place, hit in zip(row[1:], hits, strict=False):
            place.imshow(Image.open(io.BytesIO(pictures[hit["id"]])))
            place.set_title(f"distance {hit['distance']}", fontsize=7, color="#555")
    for place in axes.flat:
        place.axis("off")
    canvas.tight_layout(pad=0.4)
    canvas.savefig(sheet, dpi=110)


def write_page(pictures_file: Path, searches: Path, page: Path, sheet: Path) -> None:
    table = pq.read_table(pictures_file, columns=["id", "picture"])
    pictures = dict(zip(table["id"].to_pylist(), table["picture"].to_pylist(), strict=True))
    results = [json.loads(path.read_text("utf-8")) for path in sorted(searches.glob("*.json"))]
    write_sheet([hits for hits in results if hits], pictures, sheet)
    sections = "\n".join(section(hits, pictures) for hits in results if hits)
    page.write_text(PAGE.format(codes=f"{len(pictures):,}", sections=sections), "utf-8", newline="\n")
    print(f"{page}, {sheet}: {len(results)} searches")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    write_page(*map(Path, sys.argv[1:]))
