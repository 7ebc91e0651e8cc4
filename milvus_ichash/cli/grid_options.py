"""Options of `compare`: the grid of runs, and what is hidden from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.choices import IncompleteUse
from milvus_ichash.cli.option_values import Value, listed
from milvus_ichash.errors import check_once

if TYPE_CHECKING:
    from ichash_export.compare.case import Protocol
    from ichash_export.compare.grid import Contender

_GRID = "Grid"
_HIDDEN = "What is hidden"
_EXAMPLES = {
    "--methods": "pmch,nch:KNN",
    "--bits": "16,32",
    "--cut": "16,32,64",
    "--seeds": "0,1,2",
    "--pdr": "0.5,0.9",
    "--query-pdr": "0.1,0.5",
    "--level": "easy,hard",
    "--labelled": "0.1,1",
    "--unseen": "Shoes,Belts",
}


@dataclass(frozen=True)
class GridOptions:
    """The methods of a comparison, their settings, code lengths and seeds."""

    methods: Annotated[
        list[str],
        typer.Option(
            "--methods",
            help="Methods, ablations (METHOD:ABLATION) and baselines to compare, with commas between them; may be "
            "repeated.",
            rich_help_panel=_GRID,
        ),
    ]
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Compare all ablations of each method too.", rich_help_panel=_GRID)
    ] = False
    bits: Annotated[
        str,
        typer.Option("--bits", help="Code lengths, with commas between them, such as 16,32.", rich_help_panel=_GRID),
    ] = "32"
    cut: Annotated[
        str | None,
        typer.Option(
            "--cut",
            help="Shorter lengths, such as 16,32,64: nested codes are cut to them and measured there too, without "
            "another training.",
            rich_help_panel=_GRID,
            show_default=False,
        ),
    ] = None
    seeds: Annotated[
        str,
        typer.Option(
            "--seeds",
            help="Random seeds, with commas between them, such as 0,1,2. A seed sets gaps, initial weights and the "
            "order of the items.",
            rich_help_panel=_GRID,
        ),
    ] = "0"
    recipe_set: Annotated[
        str | None,
        typer.Option(
            "--recipe-set",
            "--recipes",
            help="Start each method from its recipe METHOD/NAME; a method without such a recipe keeps its defaults.",
            metavar="NAME",
            rich_help_panel=_GRID,
        ),
    ] = None
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of one method, or of all methods as NAME=VALUE; may be given several times.",
            metavar="METHOD.NAME=VALUE",
            rich_help_panel=_GRID,
        ),
    ] = None
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Short for --set epochs=N, of all methods.", rich_help_panel=_GRID)
    ] = None
    validation: Annotated[
        float | None,
        typer.Option(
            "--validation",
            help="Share of the training items that is held out to choose the epoch that is kept; 0 holds out none.",
            rich_help_panel=_GRID,
            show_default="the recipe's, or 0.1",
        ),
    ] = None

    @property
    def lengths(self) -> list[int]:
        """The code lengths that are trained."""
        return _values(self.bits, int, "--bits")

    @property
    def cuts(self) -> list[int]:
        """The shorter lengths to which nested codes are cut."""
        return _values(self.cut, int, "--cut")

    @property
    def seed_numbers(self) -> list[int]:
        """The random seeds."""
        return _values(self.seeds, int, "--seeds")

    def contenders(self) -> list[Contender]:
        """Return what is compared, with its settings.

        Raises:
            InputError: as `ichash_export.compare.grid.contenders`.
        """
        from ichash_export.compare.grid import contenders
        from ichash_export.papers.recipes import load_recipe_set
        from ichash_export.train.options import options_elsewhere

        found: list[Contender] = contenders(
            [name for group in self.methods for name in _values(group, str, "--methods")],
            ablations=self.ablations,
            recipes=load_recipe_set(self.recipe_set),
            settings=with_epochs(self.settings, self.epochs),
            training={} if self.validation is None else {"validation": self.validation},
            elsewhere=options_elsewhere(
                method="--methods",
                methods="--methods",
                recipe="--recipes",
                bits="--bits",
                cut="--cut",
                seed="--seeds",
                seeds="--seeds",
                pdr="--pdr",
                level="--level",
                validation="--validation",
                labelled="--labelled",
                holdout="--holdout",
                device="--device",
            ),
        )
        return found


@dataclass(frozen=True)
class HidingOptions:
    """What is hidden from training, queries and database."""

    pdr: Annotated[
        str | None,
        typer.Option(
            "--pdr",
            help="Partial data ratios, such as 0.5,0.9: shares of training items from which one modality is hidden.",
            rich_help_panel=_HIDDEN,
            show_default="0",
        ),
    ] = None
    level: Annotated[
        str | None,
        typer.Option(
            "--level",
            help="Levels at which modalities are hidden as in CICH and EGICH: easy, medium, hard, with commas between "
            "them. In place of --pdr or beside it.",
            rich_help_panel=_HIDDEN,
        ),
    ] = None
    query_pdr: Annotated[
        str | None,
        typer.Option(
            "--query-pdr",
            help="Shares of queries from which one modality is hidden, such as 0.1,0.5.",
            rich_help_panel=_HIDDEN,
            show_default="0",
        ),
    ] = None
    use: Annotated[
        IncompleteUse,
        typer.Option(
            "--use",
            help="What incomplete items are used for. complete: they train, and the database has no incomplete "
            "items. With the other three, the database has as many gaps as the training items. discard: incomplete "
            "items neither train nor are searched. enhance: they train, but are not searched. extend: they train and "
            "are searched.",
            rich_help_panel=_HIDDEN,
        ),
    ] = "complete"
    unseen: Annotated[
        str | None,
        typer.Option(
            "--unseen",
            help="Classes to keep out of training, with commas between them; queries and relevance are of these alone.",
            rich_help_panel=_HIDDEN,
        ),
    ] = None
    unseen_share: Annotated[
        float | None,
        typer.Option(
            "--unseen-share",
            help="Share of the classes to treat as --unseen, drawn at random by the seed.",
            rich_help_panel=_HIDDEN,
        ),
    ] = None
    labelled: Annotated[
        str | None,
        typer.Option(
            "--labelled",
            help="Shares of training items whose labels are known, such as 0.1,1; the other labels are hidden.",
            rich_help_panel=_HIDDEN,
            show_default="1",
        ),
    ] = None

    @property
    def pdrs(self) -> list[float]:
        """The partial data ratios of the training items."""
        return _values(self.pdr, float, "--pdr")

    def protocols(self) -> list[Protocol]:
        """Return every combination of what is hidden.

        Raises:
            InputError: as `ichash_export.compare.grid.protocols`.
        """
        from ichash_export.compare.grid import protocols

        found: list[Protocol] = protocols(
            self.pdrs,
            _values(self.level, str, "--level"),
            _values(self.query_pdr, float, "--query-pdr"),
            self.use,
            _values(self.unseen, str, "--unseen"),
            self.unseen_share,
            _values(self.labelled, float, "--labelled"),
        )
        return found


def with_epochs(settings: Sequence[str] | None, epochs: int | None) -> list[str]:
    """Return what --set was given, with --epochs, which counts for all methods for which --set says nothing else.

    Raises:
        InputError: --set says another number for all of them.
    """
    if epochs is None:
        return list(settings or ())
    check_once("epochs", [pair.partition("=")[0].strip() for pair in settings or ()], "--set with --epochs")
    return [f"epochs={epochs}", *(settings or ())]


def _values(text: str | None, kind: Callable[[str], Value], option: str) -> list[Value]:
    return listed(text, kind, option, _EXAMPLES[option])
