from __future__ import annotations

from dataclasses import replace

from chaos.items import expected
from chaos.model import Model


def model_of_three() -> Model:
    model = Model()
    model.done({1: 1, 2: 1, 3: 1})
    return model


def test_it_tells_what_is_lost_doubled_stale_mixed_up_or_strange() -> None:
    model, rows = model_of_three(), [expected(number, 1) for number in (1, 2, 3)]
    assert model.problems(rows) == []
    assert model.problems(rows[:2]) == ["1 lost: [3]"]
    assert model.problems([*rows, rows[0]]) == ["1 doubled: [1]"]
    assert model.problems([*rows[:2], expected(3, 0)]) == ["1 stale: [3]"]
    assert model.problems([*rows[:2], replace(rows[2], code=rows[1].code)]) == ["1 mixed: [3]"]
    assert model.problems([*rows, expected(4, 1)]) == ["1 stale: [4]"]


def test_a_change_that_was_cut_off_may_have_happened_or_not_and_then_is_done() -> None:
    model = model_of_three()
    model.attempt({1: 2, 2: None, 4: 2})
    for rows in ([expected(1, 1)], [expected(1, 2), expected(2, 1), expected(4, 2)], []):
        assert model.problems([*rows, expected(3, 1)]) == []
    model.done({1: 2, 2: None, 4: 2})
    assert model.problems([expected(1, 1), expected(2, 1), expected(3, 1)]) == ["1 lost: [4]", "2 stale: [1, 2]"]
    model.done({1: 3}, {1: 4})
    assert model.problems([expected(1, 4), expected(3, 1), expected(4, 2)]) == []
