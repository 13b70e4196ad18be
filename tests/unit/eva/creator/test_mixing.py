import pytest

from eva.creator.mixing import mix, share_of


@pytest.mark.parametrize(
    ("children", "pool", "from_children", "from_pool", "shortfall"),
    [
        (10_000, 10_000, 8_000, 2_000, 0),
        (101, 101, 81, 20, 0),
        (60, 100, 60, 40, 20),
        (0, 10, 0, 10, 8),
        (400, 100, 80, 20, 0),
    ],
)
def test_shares_refer_to_each_source_and_the_batch_is_as_large_as_the_pool(
    children: int, pool: int, from_children: int, from_pool: int, shortfall: int
) -> None:
    mixed = mix(
        list(range(pool, pool + children)),
        list(range(pool)),
        pool,
        child_share=0.8,
        buffer_share=0.2,
        seed=1,
        iteration=1,
    )
    assert (len(mixed.children), len(mixed.buffer), mixed.shortfall) == (from_children, from_pool, shortfall)
    assert len(set(mixed.batch)) == pool


def test_the_draw_does_not_depend_on_the_order_of_the_sources() -> None:
    one = mix([5, 6, 7, 8], [1, 2, 3, 4], 4, child_share=0.5, buffer_share=0.5, seed=3, iteration=1)
    other = mix([8, 5, 7, 6], [4, 2, 1, 3], 4, child_share=0.5, buffer_share=0.5, seed=3, iteration=1)
    assert one == other and len(one.children) == len(one.buffer) == 2


def test_children_only_is_possible() -> None:
    mixed = mix([5, 6, 7, 8], [1, 2, 3, 4], 4, child_share=1.0, buffer_share=0.0, seed=3, iteration=1)
    assert mixed.batch == [5, 6, 7, 8]


def test_a_share_is_the_floor_of_the_exact_product() -> None:
    assert int(0.29 * 100) == 28, "what binary fractions make of it"
    assert [share_of(0.29, 100), share_of(0.25, 7), share_of(0.8, 10_000), share_of(1.0, 3), share_of(0.1, 9)] == [
        29,
        1,
        8000,
        3,
        0,
    ]
