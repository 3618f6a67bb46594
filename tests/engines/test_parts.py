"""Streams served in parts by a plain sampler give what one masked sampler would give."""

import math
from dataclasses import replace

import pytest

from s1x.engines.parts import Chain, Part, pack, rest, seed_of
from s1x.engines.routing import Router
from s1x.engines.scripted import ScriptedEngine
from s1x.streams.engine import Open
from s1x.streams.types import Forbid, Sampling

VOCABULARY, PADDED, CONTEXT = 40, range(40, 64), 100


def draw(engine, part, sampling):
    """What a plain engine answers to a part."""
    forbid = Forbid(part.banned, part.limit)
    handle = engine.open(Open(part.prefix, part.limit, sampling, forbid, part.stop_ids))
    while chunks := engine.poll():
        yield from (chunk.ids for chunk in chunks if chunk.handle == handle)


def serve(engine, request) -> tuple[list[int], int]:
    chain, parts = Chain(0, request, PADDED, CONTEXT), 0
    while not chain.done:
        parts += 1
        for ids in draw(engine, chain.part(), request.sampling):
            if chain.take(ids) != ids:
                break
        assert parts < 200
    return chain.ids, parts


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.0, noise=7)])
@pytest.mark.parametrize("tokens_per_poll", [1, 5])
def test_padded_ids_are_drawn_again_and_forbidden_ids_never_come(sampling, tokens_per_poll):
    def model(**settings):
        settings = {"vocab": 64, "ends": {3: 300}, "context_length": CONTEXT} | settings
        return ScriptedEngine(tokens_per_poll=tokens_per_poll, **settings)

    padding, redrawn = frozenset(PADDED), 0
    for start in range(20):
        request = Open((start, 1), 50, sampling, Forbid(frozenset({3, 4, 5}), 6), frozenset({3}))
        ids, parts = serve(model(), request)
        masked, state = [], (start, 1)
        while len(masked) < 50 and (not masked or masked[-1] != 3):
            banned = padding | (frozenset({3, 4, 5}) if len(masked) < 6 else frozenset())
            masked.append(model().next_token(state + tuple(masked), sampling, banned))
        assert ids == masked
        redrawn += parts > 2
    assert redrawn > 10


def test_a_stream_ends_with_the_context():
    ids, _ = serve(ScriptedEngine(vocab=40, context_length=CONTEXT), Open((1,) * 90, 50))
    assert len(ids) == 10
    assert Chain(0, Open((1,) * 100, 5), PADDED, CONTEXT).done


def test_rest_counts_the_mask_and_the_limit_from_what_has_arrived():
    request = Open((1, 2), 9, forbid=Forbid(frozenset({3}), 4))
    left = rest(request, [5, 6, 7])
    assert (left.prefix, left.limit, left.forbid.first) == ((1, 2, 5, 6, 7), 6, 1)
    assert rest(request, [5, 6, 7, 8]).forbid is None


def test_seeds_differ_by_noise_and_position():
    def seed(prefix, noise):
        return Chain(0, Open(prefix, 5, Sampling(1.0, noise=noise)), PADDED, CONTEXT).part().seed

    assert len({seed((1, 2), 1), seed((1, 2), 2), seed((1, 2, 3), 1)}) == 3
    assert seed((1, 2), 1) == seed((5, 6), 1)
    assert Chain(0, Open((1,), 5), PADDED, CONTEXT).part().seed is None


class Plain:
    """A stand-in for a plain sampler: argmax(logits + Gumbel noise), its noise keyed by (seed, place, id), where the place is
    the absolute position (vLLM's model runner V2) or the number of the draw in the request (V1)."""

    def __init__(self, absolute: bool) -> None:
        self.absolute = absolute

    def write(self, part) -> list[int]:
        ids = list(part.prefix)
        for drawn in range(part.limit):
            place = len(ids) if self.absolute else drawn
            ids.append(max(set(range(64)) - part.banned, key=lambda i: self.logit(ids, i) + self.noise(part.seed, place, i)))
            if ids[-1] in part.stop_ids:
                break
        return ids[len(part.prefix) :]

    @staticmethod
    def logit(ids, token) -> float:
        return (hash((*ids[-3:], token)) % 997) / 997

    @staticmethod
    def noise(seed, place, token) -> float:
        uniform = (hash((seed, place, token)) % 99_991 + 0.5) / 99_991
        return -math.log(-math.log(uniform))


def resumed(plain, request, breaks, positional) -> list[int]:
    """The stream when it is broken off after so many tokens each time, and resumed as by another process."""
    ids: list[int] = []
    for limit in (*breaks, request.limit):
        chain = Chain(0, rest(request, ids), PADDED, 10_000)
        while not chain.done and len(chain.ids) < limit:
            part = chain.part(positional)
            chain.take(plain.write(replace(part, limit=min(part.limit, limit - len(chain.ids)))))
        ids += chain.ids
    return ids


REQUESTS = [
    Open((1, 2), 60, Sampling(1.0, noise=7)),
    Open((1, 2, 3), 60, Sampling(1.0, noise=8), Forbid(frozenset({3, 4, 5}), 20)),
    Open((9,), 60, Sampling(0.5, noise=1 << 62)),
]


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("breaks", [(), (1,), (10, 10), (1, 1, 1, 25)])
def test_under_one_seed_a_resumed_stream_is_the_undisturbed_one(request_, breaks):
    whole = resumed(Plain(absolute=True), request_, (), True)
    assert resumed(Plain(absolute=True), request_, breaks, True) == whole
    assert len(whole) == 60 and max(whole) < PADDED.start


def test_masks_and_redrawn_ids_change_no_noise_under_one_seed():
    """What the chain serves in parts is what one request with the mask would draw."""
    for request in REQUESTS:
        whole, ids = resumed(Plain(absolute=True), request, (), True), list(request.prefix)
        for n in range(60):
            banned = frozenset(PADDED) | (request.forbid.ids if request.forbid and n < request.forbid.first else frozenset())
            seed = seed_of(request.sampling.noise, len(ids), True)
            ids += Plain(absolute=True).write(Part(tuple(ids), 1, banned, frozenset(), seed))
        assert ids[len(request.prefix) :] == whole


def test_a_sampler_that_counts_its_draws_needs_a_seed_for_each_part():
    request, plain = REQUESTS[0], Plain(absolute=False)
    seeds = {seed_of(7, position, False) for position in range(50)}
    assert len(seeds) == 50 and {seed_of(7, position, True) for position in range(50)}.isdisjoint(seeds)
    assert seed_of(7, 5, True) == seed_of(7, 99, True) != seed_of(8, 5, True) and seed_of(None, 5, True) is None
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    whole = resumed(plain, request, (), False)
    broken = [resumed(plain, request, (n,), False) for n in range(10, 30)]
    assert all(ids[:n] == whole[:n] for n, ids in enumerate(broken, 10))
    assert any(ids != whole for ids in broken)  # a fresh draw, and a valid one; where a part ended anyway, the same


def test_packed_priorities_keep_their_order():
    order = [(0, 1, 0, 0), (0, 1, 3, 9), (0, 2, 0, 0), (1, 0, 0, 0), (1, 0, 0, 1), (1, 70_000, 2, 3), (1, 1 << 23, 0, 0)]
    packed = [pack(p) for p in order]
    assert packed == sorted(packed) and len(set(packed)) == len(packed)
    assert pack(()) == 0 and packed[-1] < 1 << 62


def test_what_continues_a_prompt_goes_where_the_prompt_went():
    router = Router()

    def at(prefix, load, noise=None):
        return router.route(Open(prefix, 5, Sampling(1.0, noise=noise) if noise else Sampling()), load)

    assert at((1, 2, 3), [5, 4]) == 1
    assert at((1, 2, 4), [5, 6]) == 0
    assert at((1, 2, 3, 9, 9), [0, 9]) == 1  # an answer follows its prompt though the other place idles
    assert {at((7, 7), [n, 1 - n], noise=n + 1) for n in (0, 1)} == {0, 1}  # members of a pool spread
    assert at((1, 2, 3, 9, 9), [0, float("inf")]) == 0  # its place is out of order: it moves, and stays
    assert at((1, 2, 3, 9, 9, 8), [9, 0]) == 0
