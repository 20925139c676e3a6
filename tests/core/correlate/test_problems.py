# SPDX-License-Identifier: Apache-2.0

"""Which ill groups are one problem."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from hypothesis import given
from hypothesis import strategies as st

from opx.core.correlate import problems
from opx.core.correlate.episode import Group
from opx.core.correlate.problems import Topology
from opx.core.ingest.services import Catalogue, Service

SHOP = {
    "gateway": ("orders", "worker"),
    "orders": ("payments",),
    "payments": ("store",),
    "worker": ("store",),
    "store": (),
}


def of(depends: Mapping[str, tuple[str, ...]], **ill: int) -> dict[str, str]:
    """The root of each ill service, by name, in one environment."""
    found = problems.roots(
        {Group("shop", name): at for name, at in ill.items()},
        lambda group: [Group("shop", other) for other in depends[group.service]],
    )
    return {group.service: root.service for group, root in found.items()}


def test_callers_are_part_of_the_trouble_of_what_they_call() -> None:
    """A slow store is one problem, however many services above it suffer."""
    found = of(SHOP, gateway=1, orders=2, payments=3, store=4)
    assert found == dict.fromkeys(("gateway", "orders", "payments", "store"), "store")


def test_what_nothing_ill_connects_stays_apart() -> None:
    """A well service in between does not connect: gateway and payments are two problems."""
    assert of(SHOP, gateway=1, payments=2) == {"gateway": "gateway", "payments": "payments"}


def test_a_bridge_joins_two_problems() -> None:
    """Once orders is ill too, the chain from gateway to payments is one problem."""
    found = of(SHOP, gateway=1, payments=2, orders=3)
    assert found == {"gateway": "payments", "orders": "payments", "payments": "payments"}


def test_a_common_caller_does_not_join_two_roots() -> None:
    """payments and worker are two problems; gateway feels both and goes with the older."""
    found = of(SHOP, gateway=3, orders=3, payments=2, worker=1)
    assert found["payments"] == "payments"
    assert found["worker"] == "worker"
    assert found["orders"] == "payments"
    assert found["gateway"] == "worker"


def test_a_circle_is_one_root() -> None:
    """Services that call each other are one problem, named by the one that was ill first."""
    circle = {"a": ("b",), "b": ("a",), "c": ("a",)}
    assert of(circle, a=5, b=4, c=1) == {"a": "b", "b": "b", "c": "b"}


def test_the_same_name_in_another_environment_is_another_group() -> None:
    """What no document connects is not connected, whatever it is called."""
    ill = {Group("prod", "orders"): 1, Group("test", "orders"): 2}
    assert problems.roots(ill, lambda group: []) == {group: group for group in ill}


def test_a_long_chain_is_walked() -> None:
    """Five thousand services in a row are one problem, and no recursion ends the walk."""
    groups = [Group("e", f"{number}") for number in range(5_000)]
    after = dict(itertools.pairwise(groups))
    found = problems.roots(
        dict.fromkeys(groups, 0), lambda group: [after[group]] if group in after else []
    )
    assert set(found.values()) == {groups[-1]}


def test_how_far_it_goes_down_and_up() -> None:
    """Through whatever lies between, in one environment, round a circle once, ill or not."""
    depends = {**SHOP, "a": ("b",), "b": ("a", "store")}
    services = {
        (where, name): Service(name=name, environment=where, depends_on=others)
        for where, names in {"shop": depends, "test": {"orders": ("store",)}}.items()
        for name, others in names.items()
    }
    graph = Topology.of(Catalogue(services=services))

    def names(found: Iterable[Group]) -> set[str]:
        assert {group.environment for group in found} <= {"shop"}
        return {group.service for group in found}

    assert names(graph.beneath(Group("shop", "orders"))) == {"payments", "store"}
    assert names(graph.beneath(Group("shop", "a"))) == {"b", "store"}
    assert names(graph.beneath(Group("shop", "store"))) == set()
    assert names(graph.hit_by([Group("shop", "payments")])) == {"payments", "orders", "gateway"}
    assert names(graph.hit_by([Group("shop", "store")])) == {*depends}
    assert names(graph.hit_by([Group("shop", "a"), Group("shop", "worker")])) == {
        "a",
        "b",
        "worker",
        "gateway",
    }


NAMES = st.sampled_from("abcdefgh")


@given(
    st.dictionaries(NAMES, st.lists(NAMES, max_size=4), max_size=8),
    st.dictionaries(NAMES, st.integers(0, 5), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter_and_roots_are_roots(
    depends: dict[str, list[str]], ill: dict[str, int], random: object
) -> None:
    """However the set is listed, the answer is the same; a root is its own root, is reached
    from whatever it is the root of, and reaches nothing ill outside its own circle."""

    def callees(group: Group) -> list[Group]:
        return [Group("e", other) for other in depends.get(group.service, [])]

    groups = {Group("e", name): at for name, at in ill.items()}
    found = problems.roots(groups, callees)
    shuffled = list(groups.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert problems.roots(dict(shuffled), callees) == found

    def reached(start: Group) -> set[Group]:
        seen, todo = {start}, [start]
        while todo:
            for one in callees(todo.pop()):
                if one in groups and one not in seen:
                    seen.add(one)
                    todo.append(one)
        return seen

    assert found.keys() == groups.keys()
    for group, root in found.items():
        assert found[root] == root
        assert root in reached(group)
        assert all(root in reached(one) for one in reached(root))
