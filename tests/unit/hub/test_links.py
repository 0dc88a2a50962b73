"""Links to API servers: steps, thresholds, choice, and that every state finds its way back to up."""

from collections import deque
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from yurt_hub.domain.links import STEPS, Changed, Link, LinkPolicy, LinkTable, Sign

A, B = "https://a:6443", "https://b:6443"


def table(*servers: str, **policy: object) -> LinkTable:
    return LinkTable(servers or (A,), LinkPolicy(**policy))  # type: ignore[arg-type]


def state(links: LinkTable, server: str = A) -> Link:
    return next(seen.state for seen in links.view() if seen.server == server)


def downed(*servers: str, **policy: object) -> LinkTable:
    links = table(*servers, **policy)
    for server in servers or (A,):
        links.missed(server, 0.0, "refused")
    return links


def test_every_state_is_reachable_and_has_a_way_back_to_up() -> None:
    def reach(start: Link) -> set[Link]:
        seen, todo = {start}, deque([start])
        while todo:
            here = todo.popleft()
            for (was, _), now in STEPS.items():
                if was is here and now not in seen:
                    seen.add(now)
                    todo.append(now)
        return seen

    assert reach(Link.TRYING) == set(Link)
    assert all(Link.UP in reach(link) for link in Link)
    assert {sign for _, sign in STEPS} == set(Sign)


def test_before_the_first_result_a_server_is_tried_and_probed_at_once() -> None:
    links = table()
    assert (state(links), links.choose(0.0), links.is_up(A), links.due(0.0)) == (Link.TRYING, A, False, [A])


@pytest.mark.parametrize(("answers", "then"), [(True, Link.UP), (False, Link.DOWN)])
def test_the_first_result_decides(*, answers: bool, then: Link) -> None:
    links = table()
    changes = links.heard(A, 1.0) if answers else links.missed(A, 1.0, "refused")
    assert [(c.was, c.now, c.lasted) for c in changes] == [(Link.TRYING, then, 1.0)]
    assert links.any_up() is answers


def test_one_failure_makes_a_link_shaky_and_an_answer_makes_it_good_again() -> None:
    links = table()
    links.heard(A, 0.0)
    assert links.missed(A, 5.0, "reset")[0].now is Link.SHAKY
    assert links.is_up(A)
    assert links.choose(5.0) == A
    assert links.heard(A, 5.1)[0].now is Link.UP


def test_a_second_failure_soon_after_brings_a_link_down() -> None:
    links = table()
    links.heard(A, 0.0)
    links.missed(A, 5.0, "reset")
    assert links.next_due(5.0) == pytest.approx(5.3)
    assert links.missed(A, 5.3, "refused")[0].now is Link.DOWN
    assert links.choose(5.3) is None
    assert links.view()[0].last_error == "refused"


def test_failures_of_one_moment_count_once() -> None:
    """A server that dies ends all its connections at once; that is one failure."""
    links = table()
    links.heard(A, 0.0)
    for n in range(66):
        links.missed(A, 5.0 + n / 1000, "reset")
    assert state(links) is Link.SHAKY


def test_a_probe_whose_dial_failed_is_one_failure() -> None:
    """The dial's reason is kept; that the probe had no answer either says nothing new."""
    links = table()
    links.heard(A, 0.0)
    links.missed(A, 10.1, "refused", since=10.0)
    assert links.missed(A, 12.0, "no answer", since=10.0) == ()
    assert links.view()[0].last_error == "refused"
    assert links.missed(A, 14.0, "no answer", since=12.0)[0].now is Link.DOWN


def test_a_failure_that_began_before_the_last_answer_says_nothing() -> None:
    """A dial into a black hole ends when the hole is gone and other connections are answered."""
    links = downed()
    links.heard(A, 27.8)
    assert links.missed(A, 27.9, "no connection within 5 s", since=22.9) == ()
    assert links.heard(A, 28.9)[0].now is Link.UP
    assert links.missed(A, 29.0, "no connection within 5 s", since=24.0) == ()
    assert state(links) is Link.UP


def test_failures_far_apart_do_not_add_up() -> None:
    links = table()
    links.heard(A, 0.0)
    links.missed(A, 5.0, "reset")
    links.missed(A, 40.0, "reset")
    assert state(links) is Link.SHAKY
    assert links.view()[0].misses == 1


def test_a_link_comes_back_after_two_proofs_a_second_apart() -> None:
    links = downed()
    assert links.heard(A, 3.0)[0].now is Link.TRYING
    assert links.choose(3.0) == A
    assert links.heard(A, 3.5) == ()
    assert links.next_due(3.5) == 4.0
    assert links.due(4.0) == [A]
    assert links.heard(A, 4.0)[0].now is Link.UP


def test_a_failure_while_coming_back_begins_anew() -> None:
    links = downed()
    links.heard(A, 3.0)
    assert links.missed(A, 4.0, "timeout")[0].now is Link.DOWN
    assert links.heard(A, 8.0)[0].now is Link.TRYING


def test_with_a_threshold_of_one_the_first_proof_brings_a_link_back() -> None:
    assert downed(healthy_threshold=1).heard(A, 3.0)[0].now is Link.UP


def test_a_dead_server_is_probed_ever_less_often_up_to_a_bound() -> None:
    links = LinkTable((A,), LinkPolicy(), draw=lambda: 0.999)
    now, gaps = 0.0, []
    for _ in range(5):
        links.missed(A, now, "refused")
        gaps.append(links.next_due(now) - now)
        now = links.next_due(now)
    assert gaps == pytest.approx([2, 4, 5, 5, 5], rel=0.01)
    assert 1 <= links.retry_after(now - 4.2) <= 5


def test_a_link_that_answers_is_not_probed() -> None:
    links = table()
    links.due(0.0)
    for second in range(100):
        links.heard(A, float(second))
        assert links.due(second + 0.5) == []
    assert links.due(99.0 + 10.0) == [A]


def test_a_waiting_request_has_its_server_probed_at_once() -> None:
    links = table()
    links.due(0.0)
    links.heard(A, 0.1)
    links.suspect(A, 0.5)
    assert links.due(0.5) == []
    links.suspect(A, 2.0)
    assert links.due(2.0) == [A]
    links.suspect(A, 2.1)
    assert links.due(2.1) == []
    links.heard(A, 2.2)
    assert links.due(2.3) == []


def test_a_probe_without_a_result_is_asked_for_again() -> None:
    links = table()
    assert links.due(0.0) == [A]
    assert links.due(2.9) == []
    assert links.due(3.0) == [A]


def test_hub_011_requests_take_turns_among_servers_that_are_up() -> None:
    """Two good servers share the requests; with one of them down the other gets all."""
    links = table(A, B)
    links.heard(A, 0.0)
    links.heard(B, 0.0)
    picks = [links.choose(0.0) for _ in range(4)]
    assert sorted(map(str, picks)) == [A, A, B, B]
    links.missed(B, 1.0, "reset")
    assert {links.choose(1.0) for _ in range(4)} == {A}
    links.missed(B, 2.0, "refused")
    assert {links.choose(2.0) for _ in range(4)} == {A}


def test_by_priority_the_first_good_server_gets_all() -> None:
    links = table(A, B, mode="priority")
    links.heard(B, 0.0)
    links.heard(A, 0.0)
    assert {links.choose(0.0) for _ in range(3)} == {A}
    links.missed(A, 1.0, "reset")
    assert links.choose(1.0) == B
    links.heard(A, 1.5)
    assert links.choose(1.5) == A


def test_changes_are_told_once_whoever_noticed_them() -> None:
    told: list[Changed] = []
    links = LinkTable((A,), LinkPolicy(), told=told.append)
    links.heard(A, 1.0)
    links.heard(A, 1.1)
    links.missed(A, 2.0, "reset")
    assert [(c.was, c.now) for c in told] == [(Link.TRYING, Link.UP), (Link.UP, Link.SHAKY)]


class Links(RuleBasedStateMachine):
    """Any history of answers, failures, suspicions and probes, with time that only moves forward."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Changed] = []
        self.links = LinkTable((A, B), LinkPolicy(), told=self.told.append)
        self.now = 0.0

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(server=st.sampled_from([A, B]))
    def heard(self, server: str) -> None:
        self.links.heard(server, self.now)
        assert state(self.links, server) is not Link.DOWN

    @rule(server=st.sampled_from([A, B]))
    def missed(self, server: str) -> None:
        self.links.missed(server, self.now, "reset")
        assert state(self.links, server) in (Link.SHAKY, Link.DOWN)

    @rule(server=st.sampled_from([A, B]))
    def suspect(self, server: str) -> None:
        self.links.suspect(server, self.now)

    @rule(answers=st.booleans())
    def probe(self, *, answers: bool) -> None:
        for server in self.links.due(self.now):
            if answers:
                self.links.heard(server, self.now)
            else:
                self.links.missed(server, self.now, "timeout")
        assert self.links.due(self.now) == []

    @precondition(lambda self: self.told)
    @rule()
    def heals(self) -> None:
        """Whatever happened before, a cloud that answers every probe is up soon."""
        for _ in range(8):
            self.now = self.links.next_due(self.now)
            for server in self.links.due(self.now):
                self.links.heard(server, self.now)
        assert all(self.links.is_up(server) for server in (A, B))

    @invariant()
    def a_server_is_chosen_exactly_when_one_is_not_down(self) -> None:
        usable = {seen.server for seen in self.links.view() if seen.state is not Link.DOWN}
        chosen = self.links.choose(self.now)
        assert (chosen in usable) if usable else chosen is None

    @invariant()
    def there_is_always_a_next_probe_within_the_interval(self) -> None:
        assert self.now <= self.links.next_due(self.now) <= self.now + LinkPolicy().interval

    @invariant()
    def what_was_told_is_a_chain(self) -> None:
        for server in (A, B):
            steps = [c for c in self.told if c.server == server]
            assert all(one.now is two.was for one, two in pairwise(steps))
            assert all((c.was, sign) in STEPS for c in steps for sign in Sign if STEPS.get((c.was, sign)) is c.now)


Links.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLinks = Links.TestCase
