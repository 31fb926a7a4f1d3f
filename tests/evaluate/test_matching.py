"""Which links are right, wrong, missing, or beyond what the truth can judge."""

from icegraph.evaluate.matching import Link, chains, count_links, right_links

# Pass a: floes 1, 2, 3 are identities 10, 20, 30. Pass b: floes 5, 6 are 10, 20. Pass c: floe 8 is 10, floe 9 is 30.
IDENTITIES = {"a": {1: 10, 2: 20, 3: 30}, "b": {5: 10, 6: 20}, "c": {8: 10, 9: 30}}
ORDER = ["a", "b", "c"]


def total(links):
    counts = count_links(links, IDENTITIES, ORDER).values()
    return tuple(sum(getattr(c, name) for c in counts) for name in ("true", "told", "right"))


def test_a_perfect_matcher_of_neighbouring_passes():
    links = [Link("a", 1, "b", 5), Link("a", 2, "b", 6), Link("b", 5, "c", 8)]
    assert total(links) == (3, 3, 3)
    assert right_links(links, IDENTITIES) == links


def test_a_link_over_a_gap_is_asked_for_only_where_passes_were_compared_over_it():
    assert total([Link("a", 3, "c", 9)]) == (4, 1, 1)  # identity 30 is not in b: its next sighting is in c
    assert total([]) == (3, 0, 0)


def test_a_link_that_jumps_over_a_sighting_is_right_and_does_not_stand_in_for_the_one_it_jumped():
    assert total([Link("a", 1, "c", 8)]) == (5, 1, 1)


def test_swapped_floes_are_wrong():
    assert total([Link("a", 1, "b", 6), Link("a", 2, "b", 5)]) == (3, 2, 0)


def test_a_link_from_a_known_floe_to_an_unknown_one_is_wrong_if_its_partner_was_found():
    assert total([Link("a", 1, "b", 77)]) == (3, 1, 0)
    assert total([Link("a", 77, "b", 5)]) == (3, 1, 0)


def test_links_that_the_truth_cannot_contradict_are_not_judged():
    assert total([Link("a", 77, "b", 78), Link("a", 3, "b", 78)]) == (3, 0, 0)  # 30 was not found in b


def test_passes_are_followed_within_a_sensor_unless_links_join_two():
    sensor = {"s1": "sar", "o1": "optical", "s2": "sar"}
    order = ["s1", "o1", "s2"]
    assert chains(order, sensor, []) == [["s1", "s2"], ["o1"]]
    assert chains(order, sensor, [Link("s1", 1, "o1", 1)]) == [order]
