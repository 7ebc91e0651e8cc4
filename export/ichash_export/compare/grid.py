"""The cases of a comparison: contenders times code lengths times protocols times seeds, checked before anything is
trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from ichash_export.baselines.baseline import baseline_names
from ichash_export.compare.case import BASELINE, COMPLETE, FULL, Case, Protocol
from ichash_export.compare.dataset import Dataset
from ichash_export.compare.hidden_labels import exact_share
from ichash_export.compare.unseen_classes import draw_classes, known_classes
from ichash_export.methods import registry
from ichash_export.methods.base import Method, ModelSpec
from ichash_export.train.model import build_model
from ichash_export.train.options import validated
from ichash_export.train.plan import parse_settings
from ichash_export.train.recipe import Recipe
from ichash_export.train.training_items import masked
from milvus_ichash.choices import IncompleteUse
from milvus_ichash.codes import check_bits
from milvus_ichash.errors import InputError, check_once, did_you_mean
from milvus_ichash.incomplete import partition_mask, pdr_mask

_NO_ROWS = np.ones((0, 2), np.bool_)


@dataclass(frozen=True)
class Contender:
    """A method, one of its ablations, or a baseline, with the settings that it has in all cases."""

    method: str
    variant: str
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    recipe: str | None


def contenders(
    names: Sequence[str],
    *,
    ablations: bool = False,
    recipes: Mapping[str, Recipe] | None = None,
    settings: Sequence[str] = (),
    training: Mapping[str, Any] | None = None,
    elsewhere: Mapping[str, str] | None = None,
) -> list[Contender]:
    """Return the methods, ablations and baselines to compare, in the order of the names, each once.

    The ablation comes before `settings`, those come before the recipe, and that before the defaults. What a recipe says
    of seed, PDR and level does not count.

    Args:
        names: names of methods or baselines, or `method:ablation`.
        ablations: whether each method comes with all its ablations.
        recipes: the recipes that methods take, by the name of the method; the others keep their defaults.
        settings: `METHOD.NAME=VALUE` for one method, or `NAME=VALUE` for all.
        training: options of the training that come before those of a recipe.
        elsewhere: what is no setting, but may be taken for one (`options_elsewhere`).

    Raises:
        InputError: a method, ablation or setting is unknown, or a value or a file cannot be used.
    """
    given = _settings_by_method(settings, {name.partition(":")[0] for name in names})
    found: dict[tuple[str, str], Contender] = {}
    for name in names:
        for contender in _named(name, ablations, recipes or {}, given, training or {}):
            _check_settings(contender, elsewhere or {})
            found[contender.method, contender.variant] = contender
    return list(found.values())


def _named(
    name: str,
    ablations: bool,
    recipes: Mapping[str, Recipe],
    given: Mapping[str, dict[str, Any]],
    training: Mapping[str, Any],
) -> list[Contender]:
    method, _, variant = (part.strip() for part in name.partition(":"))
    if method not in registry.method_names():
        if method in baseline_names() and not variant:
            return [Contender(method, BASELINE, {}, {}, None)]
        raise InputError(_unknown(name, method))
    known: Mapping[str, Mapping[str, Any]] = {FULL: {}, **registry.load(method).ablations}
    if variant and variant not in known:
        raise InputError(
            f"{method} has no ablation '{variant}'; it has: {', '.join(known)}.{did_you_mean(variant, known)}"
        )
    recipe = recipes.get(method)
    base = {**(recipe.settings if recipe else {}), **given.get("", {}), **given.get(method, {})}
    options = {
        name: value
        for name, value in (recipe.training if recipe else {}).items()
        if name not in ("seed", "pdr", "level")
    }
    chosen = [variant] if variant else list(known) if ablations else [FULL]
    return [
        Contender(method, each, {**base, **known[each]}, {**options, **training}, recipe.name if recipe else None)
        for each in chosen
    ]


def _check_settings(contender: Contender, elsewhere: Mapping[str, str]) -> None:
    if contender.variant != BASELINE:
        method = registry.load(contender.method)
        what = f"method '{contender.method}', {contender.variant}"
        method.input_sizes(validated(method.Config, contender.settings, what, elsewhere), None)


def _settings_by_method(pairs: Sequence[str], methods: set[str]) -> dict[str, dict[str, Any]]:
    """Return settings by the method that they are for; those under "" are for all methods."""
    given: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        name = pair.partition("=")[0]
        method, dot, _ = name.rpartition(".")
        if method and method.strip() not in methods:
            raise InputError(f"--set {pair}: '{method}' is not among --methods: {', '.join(sorted(methods))}.")
        settings = given.setdefault(method.strip(), {})
        for setting, value in parse_settings([pair.removeprefix(method + dot)]).items():
            check_once(setting, settings, "--set" if not dot else f"--set of '{method.strip()}'")
            settings[setting] = value
    return given


def _unknown(name: str, method: str) -> str:
    if method in baseline_names():
        return f"'{name}': a baseline has no ablations."
    known = [*registry.method_names(), *baseline_names()]
    return f"there is no method or baseline '{method}'; there are: {', '.join(known)}.{did_you_mean(method, known)}"


def remarks(who: Sequence[Contender], recipe_set: str | None) -> list[str]:
    """Return what a reader of the figures should know of their settings: which methods have no recipe of that name."""
    without = dict.fromkeys(c.method for c in who if recipe_set and c.recipe is None and c.variant != BASELINE)
    return [f"without a recipe '{recipe_set}', at their defaults: {', '.join(without)}."] if without else []


def protocols(
    pdrs: Sequence[float],
    levels: Sequence[str],
    query_pdrs: Sequence[float],
    use: IncompleteUse = COMPLETE,
    unseen: Sequence[str] = (),
    unseen_share: float | None = None,
    labelled: Sequence[float] = (),
) -> list[Protocol]:
    """Combine every way to hide modalities from training with every query PDR and every share of known labels.

    Where no value is given, nothing is hidden.

    Args:
        pdrs: shares of training items of which a modality is hidden.
        levels: levels of incompleteness, beside the shares.
        query_pdrs: shares of queries of which a modality is hidden.
        use: what incomplete items are used for.
        unseen: classes that are kept out of training.
        unseen_share: share of the classes that are kept out of training, drawn for each seed.
        labelled: shares of training items whose labels are known.

    Raises:
        InputError: a PDR is outside [0, 1), a level does not exist, a share of labels is outside (0, 1], or unseen
            classes are both named and drawn.
    """
    if unseen and unseen_share is not None:
        raise InputError("--unseen names classes, --unseen-share draws them: give one of the two.")
    for pdr in (*pdrs, *query_pdrs):
        pdr_mask(_NO_ROWS, pdr, 0)
    for level in levels:
        partition_mask(_NO_ROWS, level, 0)
    for share in labelled:
        exact_share(share)
    hidden: list[tuple[float, Any]] = [(pdr, None) for pdr in pdrs] + [(0.0, level) for level in levels] or [
        (0.0, None)
    ]
    return [
        Protocol(pdr, level, query_pdr, use, unseen_share, tuple(unseen), share)
        for (pdr, level), query_pdr, share in product(hidden, query_pdrs or [0.0], labelled or [1.0])
    ]


def cases(
    who: Sequence[Contender],
    bits: Sequence[int],
    how: Sequence[Protocol],
    seeds: Sequence[int],
    data: Dataset,
    cuts: Sequence[int] = (),
) -> list[Case]:
    """Return all cases, seed by seed, so that every contender has a figure early. Unseen classes are drawn for each
    seed.

    Args:
        who: the contenders.
        bits: code lengths.
        how: the protocols.
        seeds: random seeds.
        data: the data that is trained on.
        cuts: shorter lengths that nested codes are cut to; each is a case of its own beside that of the whole codes.

    Raises:
        InputError: a code length, a cut or a protocol is not possible with these data.
    """
    for length in (*bits, *cuts):
        check_bits(length)
    shorter = {length: [_cuts(c, length, cuts, data) for c in who] for length in bits}
    if cuts and not any(some for each in shorter.values() for some in each):
        raise InputError(
            "--cut: no method here trains nested codes that are longer; unihash does, with --bits 128, say."
        )
    grid = []
    for seed, protocol in product(seeds, how):
        if protocol.unseen_share is not None:
            protocol = replace(protocol, unseen=draw_classes(data, protocol.unseen_share, seed))
        elif protocol.unseen:
            protocol = replace(protocol, unseen=known_classes(data, protocol.unseen))
        for length in bits:
            for c, shorts in zip(who, shorter[length], strict=True):
                whole = Case(c.method, c.variant, length, seed, protocol, c.settings, c.training, c.recipe)
                grid += [whole, *(replace(whole, bits=short, cut_from=length) for short in shorts)]
    for case in {(case.seed, case.protocol): case for case in grid}.values():
        masked(data.train, case.options())
        pdr_mask(data.query.present, case.protocol.query_pdr, case.seed)
    return grid


def _cuts(contender: Contender, bits: int, cuts: Sequence[int], data: Dataset) -> list[int]:
    """Return the cuts that are shorter than `bits`, where the contender trains nested codes; else nothing.

    Raises:
        InputError: the nested codes of the contender cannot be cut to one of them.
    """
    wanted = [length for length in cuts if length < bits]
    if not wanted or contender.variant == BASELINE or data.train.labels is None:
        return []
    chosen = registry.load(contender.method)
    if chosen.nested is Method.nested:  # it says nothing of nested codes, so there is no need to build one
        return []
    config = validated(chosen.Config, contender.settings, f"method '{contender.method}', {contender.variant}")
    spec = ModelSpec(
        dict(data.train.dims),
        data.train.labels.shape[1],
        bits,
        data.train.label_names or (),
        chosen.input_sizes(config, None),
    )
    nested = build_model(contender.method, spec, contender.settings).method.nested
    for length in wanted if nested else ():
        if length not in nested:
            raise InputError(
                f"--cut {length}: {contender.method} of {bits} bits is trained to be cut to "
                f"{', '.join(map(str, nested[:-1]))}."
            )
    return wanted if nested else []
