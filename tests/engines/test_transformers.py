"""The transformers engine on tiny Qwen2 models with random weights: exact tokens, whatever the schedule."""

from __future__ import annotations

import random

import pytest

from s1x.engines.transformers import TransformersEngine
from s1x.streams.engine import Chunk, Open
from s1x.streams.types import Forbid, Sampling

VOCABULARY, PADDED, CONTEXT = 50, 64, 128


SIZES = {
    "vocab_size": PADDED, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": CONTEXT, "initializer_range": 0.4,
    "tie_word_embeddings": False, "eos_token_id": None, "bos_token_id": None, "pad_token_id": 0,
}  # fmt: skip


def save_model(folder, model_type: str = "qwen2", **settings) -> str:
    """A random model of a few thousand parameters, with a padded vocabulary and a tokenizer of VOCABULARY ids."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **(SIZES | settings))).save_pretrained(folder)
    words = {f"w{i}": i for i in range(VOCABULARY - 1)} | {"<|endoftext|>": VOCABULARY - 1}  # Qwen2's tokenizer wants the last
    words = Tokenizer(WordLevel(words, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    return save_model(tmp_path_factory.mktemp("gqa"))


def engine(path: str, slots: int = 4, **settings) -> TransformersEngine:
    return TransformersEngine(path, slots=slots, device="cpu", **settings)


def drain(e: TransformersEngine, limit: int = 20_000) -> dict[int, list[int]]:
    """Poll to the end; tokens per handle. Fails when the engine does not come to an end."""
    out: dict[int, list[int]] = {}
    for _ in range(limit):
        chunks = e.poll()
        if not chunks:
            return out
        for chunk in chunks:
            out.setdefault(chunk.handle, []).extend(chunk.ids)
    raise AssertionError(f"still busy after {limit} polls")


def write(e: TransformersEngine, requests: list[Open]) -> list[list[int]]:
    handles = [e.open(r) for r in requests]
    out = drain(e)
    return [out[h] for h in handles]


def prefixes(seed: int, lengths: list[int]) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    return [tuple(rng.randrange(VOCABULARY) for _ in range(n)) for n in lengths]


def sampled(noise: int, **settings) -> Sampling:
    return Sampling(temperature=1.0, noise=noise, **settings)


MODELS = {
    "qwen2": {"num_key_value_heads": 4},
    "qwen2 grouped": {},
    "qwen2 one key head": {"num_key_value_heads": 1},
    "qwen2 window": {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
    "mistral window": {"sliding_window": 9},
    "gemma3_text": {"sliding_window": 8},
    "gpt2": {"num_key_value_heads": 4},
}


@pytest.mark.parametrize("name", MODELS)
def test_greedy_equals_generate(tmp_path, name):
    import torch
    from transformers import AutoModelForCausalLM

    folder = save_model(tmp_path, name.split()[0], **MODELS[name])
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    prompts = prefixes(1, [3, 17, 1, 40, 9, 2, 64, 5, 30])
    e = engine(folder, slots=4)
    e._load()
    e.padded = range(PADDED, PADDED)  # generate draws from the padded vocabulary too
    written = write(e, [Open(p, limit=30) for p in prompts])
    for prompt, ids in zip(prompts, written, strict=True):
        seen = torch.ones(1, len(prompt))
        expected = model.generate(
            torch.tensor([prompt]), attention_mask=seen, max_new_tokens=30, do_sample=False, pad_token_id=0
        )
        assert ids == expected[0, len(prompt) :].tolist()


def test_sampled_streams_do_not_depend_on_the_schedule(path):
    prompts = prefixes(2, [5, 20, 11, 3, 40, 7, 7, 16])
    requests = [Open(p, limit=25 + i, sampling=sampled(100 + i)) for i, p in enumerate(prompts)]
    alone = [write(engine(path, slots=1), [r])[0] for r in requests]
    assert len({tuple(ids) for ids in alone}) == len(alone)
    assert write(engine(path, slots=8), requests) == alone
    for seed in range(3):
        order = random.Random(seed).sample(range(len(requests)), len(requests))
        e = engine(path, slots=3)
        assert write(e, [requests[i] for i in order]) == [alone[i] for i in order]
    late = engine(path, slots=8)
    handles, out = [], {}
    for request in requests:  # opened a few polls apart
        handles.append(late.open(request))
        for chunk in late.poll() + late.poll():
            out.setdefault(chunk.handle, []).extend(chunk.ids)
    for handle, ids in drain(late).items():
        out.setdefault(handle, []).extend(ids)
    assert [out[h] for h in handles] == alone


def test_a_stream_cut_anywhere_goes_on_the_same(path):
    prompt = prefixes(3, [12])[0]
    for sampling in (Sampling(), sampled(7), sampled(8, top_p=0.8), sampled(9, top_k=5)):
        whole = write(engine(path), [Open(prompt, limit=40, sampling=sampling)])[0]
        fresh, warm = engine(path), engine(path)
        for cut in range(0, 40, 5):
            request = Open(prompt + tuple(whole[:cut]), limit=40 - cut, sampling=sampling)
            assert write(fresh, [request])[0] == whole[cut:]
            handle, ids = warm.open(Open(prompt, limit=40, sampling=sampling)), []
            while len(ids) < cut:
                ids += [i for chunk in warm.poll() for i in chunk.ids]
            warm.cancel(handle)
            assert write(warm, [request])[0] == whole[cut:]


def test_forks_of_live_and_finished_streams_equal_a_fresh_prefill(path):
    prompt, tail = prefixes(4, [10, 3])
    e = engine(path, slots=6)
    parent = e.open(Open(prompt, limit=60))
    ids, forks, out = [], {}, {}

    def poll() -> bool:
        chunks = e.poll()
        for chunk in chunks:
            (ids if chunk.handle == parent else out.setdefault(chunk.handle, [])).extend(chunk.ids)
        return bool(chunks)

    def fork(at: int) -> None:
        prefix = prompt + tuple(ids[:at]) + tail
        forks[e.open(Open(prefix, limit=8, priority=(-1,)))] = prefix

    while len(ids) < 60:
        poll()
        if len(ids) in (5, 20, 41):
            fork(len(ids))
    for at in (60, 59, 30, 2):
        fork(at)
    while poll():
        pass
    assert e.counters.prefill_cached > 0
    for handle, prefix in forks.items():
        assert out[handle] == write(engine(path), [Open(prefix, limit=8)])[0]


def test_a_fork_prefills_only_what_is_new(path):
    prompt, tail = prefixes(5, [30, 4])
    e = engine(path, slots=2)
    ids = write(e, [Open(prompt, limit=20)])[0]
    before = e.counters.prefill - e.counters.prefill_cached
    assert before == 30
    write(e, [Open(prompt + tuple(ids) + tail, limit=3)])
    assert e.counters.prefill == 30 + 54
    # New are the tail and the parent's last token, which was drawn but never fed.
    assert e.counters.prefill - e.counters.prefill_cached == before + 5
    assert e.counters.decoded == 23


def test_samples_of_one_prompt_prefill_it_once(path):
    prompt = prefixes(6, [60])[0]
    e = engine(path, slots=8)
    pool = write(e, [Open(prompt, limit=10, sampling=sampled(i)) for i in range(20)])
    assert len({tuple(ids) for ids in pool}) > 10
    assert e.counters.prefill == 20 * 60
    assert e.counters.prefill - e.counters.prefill_cached == 60 + 19  # the others feed their last prompt token
    assert e.counters.decoded == 200


def test_longest_answers_of_a_finished_stream_keep_its_cache(path):
    """Answers at many cut points of one finished stream, one slot: longest first, each feeds only its delimiter."""
    prompt, tail = prefixes(7, [10, 2])
    e = engine(path, slots=1)
    ids = write(e, [Open(prompt, limit=50)])[0]
    before = e.counters.prefill - e.counters.prefill_cached
    cuts = [10, 49, 30, 20, 40]
    write(e, [Open(prompt + tuple(ids[:c]) + tail, limit=4) for c in cuts])
    assert e.counters.prefill - e.counters.prefill_cached == before + len(cuts) * len(tail)


def test_more_streams_than_slots_with_many_forks_all_finish(path):
    for seed in range(4):
        rng = random.Random(seed)
        e = engine(path, slots=rng.choice([1, 2, 5]))
        expected, out, open_now = {}, {}, {}
        roots = prefixes(seed, [8, 12, 8, 30])
        for root in roots * 3:
            handle = e.open(Open(root, limit=rng.randrange(1, 30), priority=(rng.randrange(3),)))
            open_now[handle] = root
        opened = dict(open_now)
        for _ in range(3000):
            chunks = e.poll()
            if not chunks:
                break
            for chunk in chunks:
                out.setdefault(chunk.handle, []).extend(chunk.ids)
                if len(opened) < 60 and rng.random() < 0.2:
                    prefix = opened[chunk.handle] + tuple(out[chunk.handle]) + (1, 2)
                    if len(prefix) < 90:
                        opened[e.open(Open(prefix, limit=rng.randrange(1, 12), priority=(rng.randrange(3),)))] = prefix
                if rng.random() < 0.02:
                    e.cancel(chunk.handle)
                    open_now[chunk.handle] = None
        else:
            raise AssertionError("never finished")
        assert not e._running and not e._queue and not e._streams
        check = engine(path, slots=16)
        handles = sorted(h for h in opened if out.get(h))
        expected = write(check, [Open(opened[h], limit=len(out[h])) for h in handles])
        assert [out[h] for h in handles] == expected


def test_priority_then_longest_prefix_then_arrival(path):
    e = engine(path, slots=1)
    busy = e.open(Open((1, 2), limit=3))
    e.poll()
    low, short, long, first = (
        e.open(Open((3,) * n, limit=1, priority=p)) for n, p in [(9, (1,)), (2, (0,)), (5, (0,)), (1, (-1,))]
    )
    order = [chunk.handle for _ in range(20) for chunk in e.poll() if chunk.done]
    assert order == [busy, first, long, short, low]


def test_forbidden_ids_never_come_first(path):
    prompt = prefixes(8, [6])[0]
    for sampling in (Sampling(), sampled(3)):
        free = write(engine(path), [Open(prompt, limit=12, sampling=sampling)])[0]
        ban = frozenset(free[:3])
        ids = write(engine(path), [Open(prompt, limit=12, sampling=sampling, forbid=Forbid(ban, 4))])[0]
        assert not ban & set(ids[:4])
        again = write(engine(path), [Open(prompt + tuple(ids[:4]), limit=8, sampling=sampling)])[0]
        assert ids[4:] == again


def test_limit_stop_hint_and_context_end(path):
    prompt = prefixes(9, [6])[0]
    e = engine(path)
    ids = write(e, [Open(prompt, limit=30)])[0]
    assert len(ids) == 30
    stop = ids[10]
    assert write(e, [Open(prompt, limit=30, stop_ids=frozenset({stop}))])[0] == ids[: ids.index(stop) + 1]
    assert len(write(e, [Open(prompt, limit=10**6)])[0]) == CONTEXT - 6
    assert len(write(engine(path, max_model_len=20), [Open(prompt, limit=100)])[0]) == 14
    handle = e.open(Open((1,) * CONTEXT, limit=5))
    assert e.poll() == [Chunk(handle, [], None, True)]
    assert e.poll() == []
    assert write(e, [Open((1,) * (CONTEXT - 1), limit=5)])[0]


def test_cancel_frees_the_slot_and_keeps_its_cache(path):
    prompt = prefixes(10, [30])[0]
    e = engine(path, slots=1)
    first, queued = e.open(Open(prompt, limit=50)), e.open(Open((1, 2, 3), limit=5))
    ids = [i for _ in range(10) for chunk in e.poll() for i in chunk.ids]
    e.cancel(queued)
    e.cancel(first)
    e.cancel(first)
    e.cancel(12345)
    assert e.poll() == []
    before = e.counters.prefill - e.counters.prefill_cached
    assert write(e, [Open(prompt + tuple(ids), limit=5)])[0] == write(engine(path), [Open(prompt + tuple(ids), limit=5)])[0]
    assert e.counters.prefill - e.counters.prefill_cached == before + 1


def test_padded_ids_are_never_drawn(path):
    hot = [Open((1, 2, i), limit=100, sampling=Sampling(temperature=50.0, noise=i)) for i in range(20)]
    ids = [i for stream in write(engine(path, slots=20), hot) for i in stream]
    assert max(ids) < VOCABULARY
    assert set(ids) == set(range(VOCABULARY))


def test_questions_under_one_seed_draw_noise_of_their_own(path):
    """At a very high temperature first tokens are close to uniform: one shared noise would give one of them."""
    prompts = prefixes(11, [4] * 100)
    requests = [Open(p, limit=1, sampling=Sampling.of(p, seed=0, temperature=1e6)) for p in prompts]
    first = [ids[0] for ids in write(engine(path, slots=32), requests)]
    assert len(set(first)) > 35  # 43 expected of 50


def test_top_k_and_top_p_draw_from_the_nucleus(path):
    import torch

    from s1x.engines import sampler

    logits = torch.log(torch.tensor([[0.5, 0.1, 0.25, 0.15]]))
    one = torch.ones(1, dtype=torch.float64)

    def kept(top_p: float, top_k: int) -> list[int]:
        p = sampler.filtered(logits, one, one * top_p, torch.tensor([top_k]))
        return p[0].nonzero()[:, 0].tolist()

    assert kept(1.0, 0) == [0, 1, 2, 3]
    assert kept(1.0, 2) == [0, 2]
    assert kept(0.6, 0) == [0, 2]
    assert kept(0.01, 0) == [0]
    assert kept(0.9, 2) == [0, 2]


def test_draws_follow_the_distribution():
    import torch

    from s1x.engines import sampler

    p = torch.tensor([0.5, 0.2, 0.0, 0.3], dtype=torch.float64)
    n = 40_000
    rows = torch.arange(n)
    ones = torch.ones(n, dtype=torch.float64)
    for noise, position in ((rows, torch.zeros_like(rows)), (torch.zeros_like(rows), rows)):
        ids = sampler.draw(p.log().expand(n, -1), ones, ones, torch.zeros_like(rows), noise, position)
        share = torch.bincount(ids, minlength=4) / n
        assert share[2] == 0
        assert torch.allclose(share.double(), p, atol=0.012)


def test_logprobs_are_untempered_and_unmasked(path):
    import torch
    from transformers import AutoModelForCausalLM

    prompt = prefixes(12, [8])[0]
    e = engine(path)
    e.open(Open(prompt, limit=10, sampling=sampled(1, top_k=3), forbid=Forbid(frozenset({1, 2}), 10), logprobs=True))
    plain = e.open(Open(prompt, limit=10))
    chunks = [c for _ in range(30) for c in e.poll()]
    assert all(c.logprobs is None for c in chunks if c.handle == plain)
    mine = [c for c in chunks if c.handle != plain]
    ids, logprobs = [i for c in mine for i in c.ids], [x for c in mine for x in c.logprobs]
    model = AutoModelForCausalLM.from_pretrained(path).eval()
    with torch.no_grad():
        logits = model(torch.tensor([prompt + tuple(ids)])).logits[0, len(prompt) - 1 : -1, :VOCABULARY]
    expected = logits.log_softmax(-1)[range(10), ids]
    assert torch.allclose(torch.tensor(logprobs), expected, atol=1e-4)


def test_counters_add_up(path):
    prompts = prefixes(13, [5, 9, 14, 2, 33])
    e = engine(path, slots=2)
    out = write(e, [Open(p, limit=7) for p in prompts])
    assert e.counters.decoded == sum(map(len, out)) == 35
    assert e.counters.prefill == sum(map(len, prompts))
    assert e.counters.prefill_cached <= 3  # chance matches of a first id
    assert e.counters.starts == 1


def test_long_prefills_go_in_bounded_steps(path, monkeypatch):
    from s1x.engines import transformers as module

    monkeypatch.setitem(module._PREFILL_PER_STEP, "cpu", 16)
    prompt, other = prefixes(14, [70, 3])
    e = engine(path, slots=2)
    short = e.open(Open(other, limit=20))
    e.poll()
    long = e.open(Open(prompt, limit=3))
    polls = []
    while chunks := e.poll():
        polls.append({c.handle: c.ids for c in chunks})
    assert [long in p for p in polls[:5]] == [False] * 4 + [True]
    assert all(short in p for p in polls[:19])
    assert write(engine(path), [Open(prompt, limit=3)])[0] == [i for p in polls for i in p.get(long, [])]


def test_wrong_settings_are_one_sentence(path, tmp_path):
    for settings, word in [
        ({"model": str(tmp_path / "nowhere")}, "does not exist"),
        ({"model": str(tmp_path)}, "config.json"),
        ({"model": path, "slots": 0}, "slots=0"),
        ({"model": path, "max_model_len": CONTEXT + 1}, "max_model_len=129"),
        ({"model": path, "dtype": "int4"}, "dtype=int4"),
        ({"model": path, "device": "tpu"}, "device=tpu"),
    ]:
        with pytest.raises((ValueError, FileNotFoundError), match=word):
            TransformersEngine(**settings)
    with pytest.raises(ValueError, match="prefix is empty"):
        engine(path).open(Open((), limit=3))


def test_little_memory_means_fewer_slots_not_other_tokens(path, monkeypatch):
    """Streams of slots given up for longer ones queue again and go on the same."""
    from s1x.engines import transformers as module

    monkeypatch.setattr(module, "_FIRST_LENGTH", 16)
    requests = [Open(p, limit=110, sampling=sampled(i)) for i, p in enumerate(prefixes(15, [3, 9, 4, 8, 8, 2, 15]))]
    expected = write(engine(path, slots=8), requests)
    position_bytes = 2 * 2 * 2 * 8 * 4  # layers, keys and values, kv_heads, head_dim, float32
    small = engine(path, slots=6, kv_cache_gib=3.2 * CONTEXT * position_bytes / 2**30)
    assert write(small, requests) == expected
    assert small._cache.slots == 3 and small._cache.length == CONTEXT
    tiny = engine(path, slots=6, kv_cache_gib=60 * position_bytes / 2**30)
    with pytest.raises(MemoryError, match="kv_cache_gib"):
        write(tiny, requests)


def test_closed_engine_forgets_its_cache(path):
    prompt = prefixes(16, [30])[0]
    e = engine(path)
    ids = write(e, [Open(prompt, limit=5)])[0]
    e.open(Open(prompt, limit=5))
    e.close()
    assert e.poll() == []
    assert write(e, [Open(prompt, limit=5)])[0] == ids
    assert e.counters.prefill_cached == 0 and e.counters.starts == 2
