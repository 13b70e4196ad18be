import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eva.seeds import derive, text_hash, uniforms


def test_seeds_are_fixed_for_ever() -> None:
    assert derive(42, 1, "evolve", 7) == 1269735016740417901
    assert derive(42, 1) != derive(42, "1") and derive(42, 11) != derive(42, 1, 1)


@given(st.lists(st.integers(0, 10**9), min_size=1, unique=True))
def test_a_draw_depends_only_on_its_number(numbers: list[int]) -> None:
    together = uniforms(3, "x", numbers=np.array(numbers))
    alone = [uniforms(3, "x", numbers=np.array([number]))[0] for number in numbers]
    assert together.tolist() == alone and ((together > 0) & (together < 1)).all()


def test_draws_are_uniform_and_uncorrelated_between_paths() -> None:
    one, other = (uniforms(3, path, numbers=np.arange(100_000)) for path in ("a", "b"))
    assert abs(one.mean() - 0.5) < 0.004 and abs(np.corrcoef(one, other)[0, 1]) < 0.01
    assert np.histogram(one, 50, (0, 1))[0].std() < 70


def test_text_hashes_accept_any_text_even_lone_surrogates() -> None:
    assert text_hash("a") != text_hash("b") and -(2**63) <= text_hash("\ud800") < 2**63
