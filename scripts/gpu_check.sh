#!/usr/bin/env bash
# Does a resumed sampled stream go on bit for bit on this GPU? See --help.
set -euo pipefail

usage() {
    cat <<'TEXT'
scripts/gpu_check.sh [--model PATH_OR_HUB_ID] [--engine vllm|transformers] [--streams N] [--tokens N] [--dtype NAME]

Writes N sampled streams undisturbed, and again with every one of them broken off at random tokens, resumed behind its last token,
some under a mask, in other batches. Compares them bit for bit and prints a verdict:

  EQUAL        exit status 0: engine.positional_seeds=true may be used with this vLLM, model and card
  DIFFERENT    exit status 1: how many streams, and the first token where each parts
  CANNOT TELL  exit status 2: no vLLM, no GPU, or vLLM runs its model runner V1, whose noise cannot be resumed

What it needs: one GPU for batch-invariant kernels (H100 or newer; A100) and pip install -e '.[vllm]'. Minutes.
  --model    default: the tiny model that ships with s1x; then one of ordinary size, such as Qwen/Qwen2.5-0.5B-Instruct
  --engine   default: vllm, with batch_invariant=true and positional_seeds=true. transformers checks the check itself, on a CPU too
  --streams  default: 64        --tokens  of each, default: 256        --dtype  default: bfloat16 on a GPU, float32 without
TEXT
}

cd "$(dirname "$0")/.."
model= engine=vllm streams=64 tokens=256 dtype=
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage; exit 0 ;;
    --model | --engine | --streams | --tokens | --dtype)
        [ $# -gt 1 ] || { echo "$1 needs a value" >&2; exit 2; }
        printf -v "${1#--}" %s "$2"; shift 2 ;;
    *) echo "$1 is unknown; see --help" >&2; exit 2 ;;
    esac
done

exec "${PYTHON:-python}" - "${model:-s1x/tiny/models/tiny-s1}" "$engine" "$streams" "$tokens" "$dtype" <<'PY'
import logging
import random
import subprocess
import sys
from importlib.metadata import version

model, name, streams, tokens, dtype = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] or None
logging.basicConfig(level=logging.WARNING, format="%(message)s")


def verdict(words: str, status: int) -> None:
    print(f"\nVERDICT: {words}")
    sys.exit(status)


from s1x.engines.parts import rest
from s1x.models.device import cuda_devices
from s1x.streams.engine import Open
from s1x.streams.types import Forbid, Sampling

try:
    if name == "vllm":
        from s1x.engines.vllm import VllmEngine

        engine = VllmEngine(model, dtype=dtype, batch_invariant=True, positional_seeds=True, own_process=False)
    elif name == "transformers":
        from s1x.engines.transformers import TransformersEngine

        engine = TransformersEngine(model, dtype=dtype)
    else:
        verdict(f"CANNOT TELL: --engine {name}: valid are vllm and transformers", 2)
except (ValueError, FileNotFoundError) as error:
    verdict(f"CANNOT TELL: {error}", 2)
if name == "vllm" and not cuda_devices():
    verdict("CANNOT TELL: there is no GPU here", 2)

rng = random.Random(0)
last = min(engine.facts["vocab_size"], 400)
requests = [
    Open(
        tuple(rng.randrange(3, last) for _ in range(rng.randint(4, 40))),
        tokens,
        Sampling(rng.choice((0.7, 1.0)), rng.choice((1.0, 0.95)), noise=rng.getrandbits(62)),
        Forbid(frozenset(range(3, 12)), tokens // 3) if n % 4 == 0 else None,
        logprobs=n % 2 == 0,
    )
    for n in range(streams)
]


def write(batch: list[Open]) -> list[list[int]]:
    handles = [engine.open(request) for request in batch]
    ids = {handle: [] for handle in handles}
    while chunks := engine.poll():
        for chunk in chunks:
            ids[chunk.handle] += chunk.ids
    return [ids[handle] for handle in handles]


whole = write(requests)
if name == "vllm" and not engine.llm.vllm_config.use_v2_model_runner:
    verdict("CANNOT TELL: this vLLM runs its model runner V1 (see its own message above, or VLLM_USE_V2_MODEL_RUNNER)", 2)
if name == "vllm":
    engine.forget()  # so that the second time is cold
broken, rounds = [[] for _ in requests], 0
while open_ := [n for n, ids in enumerate(broken) if len(ids) < tokens]:
    batch = rng.sample(open_, rng.randint(1, len(open_)))  # other neighbours every time
    left = [rest(requests[n], broken[n]) for n in batch]
    cut = [rng.randint(1, max(1, request.limit if rounds > 12 else request.limit // 3)) for request in left]
    for n, ids in zip(batch, write([Open(r.prefix, c, r.sampling, r.forbid, logprobs=r.logprobs) for r, c in zip(left, cut)])):
        broken[n] += ids
    rounds += 1
engine.close()

card = "no GPU"
if cuda_devices():
    asked = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True, text=True)
    card = asked.stdout.strip().splitlines()[0] if asked.returncode == 0 and asked.stdout else "a GPU"
print(f"{name} {version(name)}, {model}, {engine.dtype}, {card}: {streams} streams of {tokens} tokens, resumed in {rounds} rounds")
apart = {n: next(i for i, (a, b) in enumerate(zip(whole[n], broken[n])) if a != b) for n in range(streams) if whole[n] != broken[n]}
if apart:
    print("first different token by stream:", dict(sorted(apart.items())))
    verdict(f"DIFFERENT: {len(apart)} of {streams} streams; leave engine.positional_seeds=false", 1)
verdict("EQUAL: all resumed streams are the undisturbed ones" + "; engine.positional_seeds=true may be used here" * (name == "vllm"), 0)
PY
