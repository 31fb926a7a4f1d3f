"""Which links are right, wrong, missing, or beyond what the truth can judge."""

import pytest

from icegraph.evaluate.matching import Link, LinkCounts, count_links, links_within, right_links

# Pass a: floes 1, 2, 3 are identities 10, 20, 30. Pass b: floes 5, 6 are 10, 20. Pass c: floe 8 is 10, floe 9 is 30.
IDENTITIES = {"a": {1: 10, 2: 20, 3: 30}, "b": {5: 10, 6: 20}, "c": {8: 10, 9: 30}}
ORDER = ["a", "b", "c"]


def total(links):
    counts = count_links(links, IDENTITIES, ORDER).values()
    return tuple(sum(getattr(c, name) for c in counts) for name in ("true", "told", "right", "met"))


def test_a_perfect_matcher_of_neighbouring_passes():
    links = [Link("a", 1, "b", 5), Link("a", 2, "b", 6), Link("b", 5, "c", 8)]
    assert total(links) == (4, 3, 3, 3)
    assert right_links(links, IDENTITIES) == links


def test_every_sighting_after_the_first_is_asked_for_whatever_was_told():
    assert total([Link("a", 3, "c", 9)]) == (4, 1, 1, 1)  # identity 30 is not in b: its next sighting is in c
    assert total([]) == (4, 0, 0, 0)
    assert count_links([], IDENTITIES, ORDER)["a", "c"] == LinkCounts(true=1)


def test_a_link_that_jumps_over_a_sighting_is_right_and_does_not_stand_in_for_the_one_it_jumped():
    assert total([Link("a", 1, "c", 8)]) == (4, 1, 1, 0)


def test_swapped_floes_are_wrong():
    assert total([Link("a", 1, "b", 6), Link("a", 2, "b", 5)]) == (4, 2, 0, 0)


def test_a_link_from_a_known_floe_to_an_unknown_one_is_wrong_if_its_partner_was_found():
    assert total([Link("a", 1, "b", 77)]) == (4, 1, 0, 0)
    assert total([Link("a", 77, "b", 5)]) == (4, 1, 0, 0)


def test_links_that_the_truth_cannot_contradict_are_not_judged():
    assert total([Link("a", 77, "b", 78), Link("a", 3, "b", 78)]) == (4, 0, 0, 0)  # 30 was not found in b


def test_a_floe_is_followed_through_the_passes_of_another_sensor():
    links = [Link("s1", 1, "o1", 4), Link("o1", 4, "s2", 7), Link("s1", 2, "s2", 8), Link("s2", 7, "o2", 5), Link("o1", 9, "o2", 6)]
    assert links_within(links, {"s1", "s2"}) == [Link("s1", 1, "s2", 7), Link("s1", 2, "s2", 8)]
    assert links_within(links, {"o1", "o2"}) == [Link("o1", 4, "o2", 5), Link("o1", 9, "o2", 6)]
    assert links_within(links, {"s1", "s2", "o1", "o2"}) == links


def test_figures_of_counts():
    figures = LinkCounts(true=10, told=8, right=6, met=5).metrics()
    assert (figures["precision"], figures["recall"]) == (0.75, 0.5)
    assert figures["f1"] == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    assert LinkCounts(true=3).metrics() == {"true": 3, "told": 0, "right": 0, "recall": 0.0, "f1": 0.0}
    assert LinkCounts().metrics() == {"true": 0, "told": 0, "right": 0}
