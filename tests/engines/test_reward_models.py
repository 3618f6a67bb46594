"""Reward models of the published classes, with random weights: what engines read equals each family's own formula.

The formulas are those of the models' cards and inference code, written anew over plain transformers models in one pass.
"""

import random

import pytest

from s1x.engines.transformers import TransformersEngine
from s1x.scorer import Scorer, ScorerFormat
from s1x.streams.engine import Open, Scoring

from . import tiny
from .test_scoring import answers_by_row

torch = pytest.importorskip("torch")
SIZES = {
    "hidden_size": 128, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 400, "max_position_embeddings": 512,
}  # fmt: skip
LABELS = (7, 5)


def with_tokenizer(folder):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    Tokenizer(WordLevel({f"w{i}": i for i in range(400)}, unk_token="w0")).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "w0"}')
    return str(folder)


def headed(folder, architecture, layers):
    """A Qwen2 backbone and the weights of a head, saved under the names that the published checkpoints use."""
    from safetensors.torch import save_file
    from transformers import Qwen2Config, Qwen2Model

    torch.manual_seed(len(architecture))
    config = Qwen2Config(**SIZES)
    model = Qwen2Model(config).eval()
    weights = {f"model.{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    head = {f"{name}.weight": torch.randn(out, inn) / 4 for name, (out, inn) in layers.items()}
    head |= {f"{name}.bias": torch.randn(out) for name, (out, _) in layers.items()}
    config.architectures = [architecture]
    config.save_pretrained(folder)
    save_file(weights | head, folder / "model.safetensors", {"format": "pt"})
    return with_tokenizer(folder), model, head


def of_hidden(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).last_hidden_state[0]


def qwen_prm(folder):
    """Qwen2.5-Math-PRM-7B: Linear, ReLU, Linear to two outputs; softmax; the second one, at each mark."""
    path, model, head = headed(folder, "Qwen2ForProcessRewardModel", {"score.0": (128, 128), "score.2": (2, 128)})

    def formula(ids, n):
        hidden = torch.relu(of_hidden(model, ids)[n - 1] @ head["score.0.weight"].T + head["score.0.bias"])
        return float((hidden @ head["score.2.weight"].T + head["score.2.bias"]).softmax(-1)[1])

    return path, formula, {"right": 1}


def qwen_rm(folder):
    """Qwen2.5-Math-RM: the same with one output."""
    path, model, head = headed(folder, "Qwen2ForRewardModel", {"score.0": (128, 128), "score.2": (1, 128)})

    def formula(ids, n):
        hidden = torch.relu(of_hidden(model, ids)[n - 1] @ head["score.0.weight"].T + head["score.0.bias"])
        return float((hidden @ head["score.2.weight"].T + head["score.2.bias"]).sigmoid()[0])

    return path, formula, {}


def skywork(folder):
    """Skywork-o1-Open-PRM: TRL's value head, sigmoid, at the step token."""
    path, model, head = headed(folder, "Qwen2ForCausalLM", {"v_head.summary": (1, 128)})

    def formula(ids, n):
        return float(
            (of_hidden(model, ids) @ head["v_head.summary.weight"].T + head["v_head.summary.bias"]).sigmoid()[n - 1, 0]
        )

    return path, formula, {}


def labelled(folder, kind):
    import transformers

    torch.manual_seed(5)
    config = getattr(transformers, f"{kind}Config")(**SIZES)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    model.save_pretrained(folder)

    def formula(ids, n):
        with torch.no_grad():
            return float(model(torch.tensor([ids])).logits[0, n - 1, list(LABELS)].softmax(-1)[0])

    return with_tokenizer(folder), formula, {"labels": ("w7", "w5")}


def rlhflow(folder):
    """RLHFlow's Llama: softmax over the logits of "+" and "-", before the turn in which they stand."""
    return labelled(folder, "Llama")


def math_shepherd(folder):
    """Math-Shepherd's Mistral: the same, at its step tag."""
    return labelled(folder, "Mistral")


FAMILIES = [qwen_prm, qwen_rm, skywork, rlhflow, math_shepherd]


def transformers(path, slots=32):
    return TransformersEngine(path, device="cpu", dtype="float32", slots=slots)


def vllm(path):
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from s1x.engines.vllm import VllmEngine

    return VllmEngine(path, dtype="float32", max_num_seqs=16, kv_cache_gib=0.2)


VLLM = [pytest.param(vllm, family, marks=pytest.mark.vllm) for family in FAMILIES if family is not skywork]


@pytest.mark.parametrize(("make", "family"), [*((transformers, family) for family in FAMILIES), *VLLM])
def test_equals_the_formula_of_its_family(make, family, tmp_path):
    path, formula, strings = family(tmp_path)
    rng = random.Random(1)
    engine = make(path)
    of = LABELS if "labels" in strings else "head"
    scorer = Scorer(ScorerFormat("x", **strings), None)
    asked = {}
    trunk = [rng.randrange(1, 400) for _ in range(30)]
    for _ in range(40):  # 200 prefixes, of which many share a trunk
        ids = tuple(trunk[: rng.randrange(31)] + [rng.randrange(1, 400) for _ in range(rng.randrange(5, 60))])
        at = tuple(sorted(rng.sample(range(1, len(ids) + 1), 5)))
        asked[engine.score(Scoring(ids, at, of))] = (ids, at)
    rows = answers_by_row(engine)
    for handle, (ids, at) in asked.items():
        assert scorer.values(rows[handle]) == pytest.approx([formula(ids, n) for n in at], abs=1e-5)
    assert engine.counters.scored > 0 and engine.counters.decoded == 0
    if make is transformers:
        assert 0 < engine.counters.scored_cached < engine.counters.scored
    engine.close()


def union(texts):
    """Tokens of the trie of all texts."""
    ordered, total, before = sorted(texts), 0, ()
    for ids in ordered:
        shared = next((i for i, (a, b) in enumerate(zip(ids, before)) if a != b), min(len(ids), len(before)))
        total, before = total + len(ids) - shared, ids
    return total


@pytest.mark.parametrize(("make", "block"), [(transformers, 0), pytest.param(vllm, 32, marks=pytest.mark.vllm)])
def test_labels_of_the_tiny_model_read_a_trunk_once(make, block):
    """A tree that grows step by step, as searches do: what is read is the union (and with vLLM a block for every request)."""
    rng, engine, plain = random.Random(2), make(tiny.MODEL), transformers(tiny.MODEL)
    chains, rows, read = [tuple(rng.randrange(3, 400) for _ in range(40))], {}, []
    for _ in range(20):
        chains = [c + tuple(rng.randrange(3, 400) for _ in range(10)) for c in rng.choices(chains, k=10)]
        asked = {engine.score(Scoring(ids, (len(ids),), (13, 15))): ids for ids in chains}
        found = answers_by_row(engine)
        rows |= {ids: found[handle][0] for handle, ids in asked.items()}
        read += chains
    assert len(rows) == 200
    asked = {plain.score(Scoring(ids, (len(ids),), (13, 15))): ids for ids in rows}
    found = answers_by_row(plain)
    for handle, ids in asked.items():
        scorer = Scorer(ScorerFormat("x", labels=("+", "-")), None)
        assert scorer.values([rows[ids]]) == pytest.approx(scorer.values(found[handle]), abs=1e-4)
    new = engine.counters.scored - engine.counters.scored_cached
    assert new <= 1.1 * union(read) + block * len(read)
    engine.close(), plain.close()


def test_a_model_with_a_value_head_writes_nothing(tmp_path):
    path, _, _ = qwen_prm(tmp_path)
    engine = TransformersEngine(path, device="cpu", dtype="float32")
    assert engine.scores == {"head"}
    with pytest.raises(ValueError, match="it has a value head"):
        engine.open(Open((1, 2), 5))
