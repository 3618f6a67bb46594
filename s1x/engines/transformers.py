"""The embedded engine: continuous batching over slots of a static KV cache, on any Hugging Face causal LM.

One poll is one model step: every decoding slot gets its next token, and prefills ride along, bounded per step. The
Hugging Face model code is used as it is; only its attention is ours (kv_cache.py), registered through transformers' attention
interface. A stream whose prefix begins like the ids of some slot reuses that slot's keys and values instead of prefilling.
"""

from __future__ import annotations

import heapq
import logging
from itertools import islice
from typing import Any

import numpy as np

from ..models.device import free_memory, resolve_device, resolve_dtype, resolve_threads
from ..models.files import locate
from ..streams.engine import Chunk, Open, Rows, Scoring
from . import heads
from .common import ModelEngine, alive, at_least_one, no_room
from .heads import head_layers, refuse_to_write
from .slots import Match, SlotTable, Stream

_WORTH_A_BAR = 1e9  # parameters whose loading is shown
_FIRST_LENGTH = 256  # positions per slot at the start; grown by doubling
_WORTH_WAITING = 16  # a queued stream waits for a running prefill that gives it this many cached tokens more
_PREFILL_PER_STEP = {"cpu": 2048, "cuda": 8192}  # tokens; bounds how long decoding streams wait for a prefill
_SETTINGS = [("prefix", "i8"), ("temperature", "f8"), ("top_p", "f8"), ("top_k", "i8"), ("noise", "i8")]


class TransformersEngine(ModelEngine):
    """Engine protocol (streams/engine.py) over a Hugging Face causal LM, on the CPU or one CUDA GPU.

    model: folder or hub id. tokenizer: where it differs from the model. dtype: float32 on CPU and bfloat16 on CUDA by default.
    threads: CPU threads of torch (None: one for small models, else as they are). slots: streams decoded at once.
    max_model_len: tokens per stream, prefix included (None: the model's). kv_cache_gib: what keys and values may take (None:
    half the memory, on CUDA 85% of what is free); when long streams outgrow it, fewer slots are used and their streams queue
    again. compile: run the model through torch.compile. The constructor only reads small files and raises one-sentence errors;
    weights load at the first poll.

    Sampled streams depend on (sampling.noise, absolute position) alone, not on batching. Ids beyond the tokenizer's are never
    drawn; log-probabilities and confidences, with a token or scored, are of the raw logits over the others, before `forbid`.
    """

    name, packages = "transformers", ("transformers",)
    confidences = frozenset({"top20", "kl"})

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        tokenizer: str | None = None,
        dtype: str | None = None,
        device: str = "auto",
        threads: int | None = None,
        slots: int = 64,
        max_model_len: int | None = None,
        kv_cache_gib: float | None = None,
        compile: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        at_least_one(slots=slots)
        self.device = resolve_device(device)
        super().__init__(
            model,
            revision=revision,
            tokenizer=tokenizer,
            max_model_len=max_model_len,
            capacity=slots,
            dtype=resolve_dtype(dtype, self.device),
            trust_remote_code=trust_remote_code,
        )
        self._head = head_layers(locate(model, revision).folder)
        self.scores = frozenset({"head"}) if self._head else frozenset({"labels", "next"}) | self.confidences
        if "dynamic" in self.facts["rope"] or "longrope" in self.facts["rope"]:
            logging.getLogger(__name__).warning(
                "%s scales its positions by the longest stream of a batch (%s): what one stream gets behind the trained length "
                "depends on its neighbours; engine=vllm does not.", model, ", ".join(self.facts["rope"]),
            )  # fmt: skip
        self._threads = resolve_threads(threads, self.device, self.facts["parameters"])
        self._kv_cache_gib, self._compile = kv_cache_gib, compile

        self._model: Any = None
        self._settings = np.zeros(slots, dtype=_SETTINGS)  # per slot, of the stream that owns it
        self._slots = SlotTable(slots, min(_FIRST_LENGTH, self.context_length))
        self._streams: dict[int, Stream] = {}
        self._full: list[int] = []  # opened with no room for a token
        self._queue: list[tuple] = []  # heap of (priority, -prefix length, handle)
        self._running: dict[int, Stream] = {}  # slot -> stream
        self._waiting: dict[int, set[Stream]] = {}  # slot -> queued streams that hope to reuse it
        self._forbidding: set[Stream] = set()
        self._scoring: set[Stream] = set()

    # --- the protocol ---

    def open(self, request: Open) -> int:
        """Queue a stream; returns its handle. A prefix must not be empty."""
        refuse_to_write(self.model, self._head)
        stream = Stream(self.admit(request), request, np.array(request.prefix, dtype=np.int64))
        if request.limit < 1 or len(request.prefix) >= self.context_length:
            self._streams[stream.handle] = stream
            self._full.append(stream.handle)
        else:
            self._enqueue(stream)
        return stream.handle

    def score(self, request: Scoring) -> int:
        """Queue a scoring: its ids take a slot as a prefix does, and reuse what is cached up to its first position."""
        stream = Stream(self.admit(request), request, np.array(request.ids[: request.at[-1]], dtype=np.int64))
        stream.wanted = np.array(request.at, dtype=np.int64)
        self._enqueue(stream)
        return stream.handle

    def poll(self, wait: float = 1.0) -> list[Chunk | Rows]:
        """One model step over all slots. While nothing but prefill is under way, it reports an empty chunk."""
        ended = [self._streams.pop(handle) for handle in self._full if handle in self._streams]
        self._full.clear()
        chunks: list[Chunk | Rows] = [no_room(s.request, s.handle) for s in ended]
        if self._streams:
            import torch

            if self._model is None:
                self._load()
            with torch.inference_mode():
                self._admit()
                chunks += self._step()
        return chunks

    def cancel(self, handle: int) -> None:
        """Forget a stream; what its slot has cached stays reusable."""
        stream = self._streams.pop(handle, None)
        if stream is None:
            return
        if stream.slot < 0:
            self._waiting.get(stream.best.slot, set()).discard(stream)
        else:
            self._release(stream)

    def close(self) -> None:
        """Drop the model, its cache and every stream. A later poll would load anew."""
        self._model = self._cache = self._packer = None
        self._slots = SlotTable(self.capacity, self._slots.ids.shape[1])
        for state in (self._streams, self._running, self._waiting, self._queue, self._full, self._forbidding, self._scoring):
            state.clear()
        if self.counters.starts:
            import torch

            torch.set_num_threads(self._threads_before)
            if self.device == "cuda":
                torch.cuda.empty_cache()

    # --- loading ---

    def _load(self) -> None:
        import torch
        from transformers import AttentionInterface, AutoModelForCausalLM
        from transformers.utils.logging import disable_progress_bar

        from .kv_cache import NAME, KVCache, attention
        from .packing import Packer

        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(self._threads or self._threads_before)
        AttentionInterface.register(NAME, torch.compiler.disable(attention) if self._compile else attention)
        files = locate(self.model, self.revision)
        source = files.hub or str(files.folder)
        settings = {
            "revision": files.commit or "main",
            "local_files_only": files.hub is None,
            "dtype": getattr(torch, self.dtype),
            "attn_implementation": NAME,
            "trust_remote_code": self.trust_remote_code,
        }
        if self.facts["parameters"] < _WORTH_A_BAR:
            disable_progress_bar()
        if self._head:
            model = heads.load(source, files.folder, self._head, **settings)
        else:
            model = AutoModelForCausalLM.from_pretrained(source, **settings)
        if not getattr(model, "_supports_attention_backend", False):
            raise ValueError(
                f"model.path={source}: {type(model).__name__} does not use transformers' attention interface, "
                "so engine=transformers cannot run it; use engine=vllm."
            )
        self._model = model.to(self.device).eval()
        if self._compile:
            self._model.compile(dynamic=True)  # breaks at the attention, so step layouts never recompile

        self._position_bytes = 2 * self.facts["kv_heads"] * self.facts["head_dim"] * model.dtype.itemsize
        self._memory = free_memory(self.device) if self._kv_cache_gib is None else self._kv_cache_gib * 2**30
        self._cache = KVCache(self.capacity, self._slots.ids.shape[1], torch.device(self.device))
        self._packer = Packer(self._slots, self._cache, _PREFILL_PER_STEP[self.device], self._position_bytes)
        self.counters.starts += 1

    # --- from the queue into slots ---

    def _enqueue(self, stream: Stream) -> None:
        self._streams[stream.handle] = stream
        self._hope(stream)
        heapq.heappush(self._queue, stream.rank)

    def _hope(self, stream: Stream) -> None:
        """Note the slot whose cached ids a queued stream would reuse, so that it is spared while others will do."""
        stream.best, _ = self._slots.best(stream.prefix, stream.reusable)
        if stream.best.length:
            self._waiting.setdefault(stream.best.slot, set()).add(stream)

    def _admit(self) -> None:
        """Give idle slots to queued streams, by priority, then longest prefix, then arrival."""
        idle = len(self._slots.idle())
        later = []
        while self._queue and idle > len(later):
            entry = heapq.heappop(self._queue)
            stream = self._streams.get(entry[-1])
            if stream is None:  # cancelled
                continue
            match, coming = self._slots.best(stream.prefix, stream.reusable)
            if coming > match.length + _WORTH_WAITING:  # its beginning is being prefilled right now: one slot is kept for it
                later.append(entry)
                continue
            self._waiting.get(stream.best.slot, set()).discard(stream)
            self._start(stream, match)
            idle -= 1
        for entry in later:
            heapq.heappush(self._queue, entry)

    def _start(self, stream: Stream, match: Match) -> None:
        needed = np.zeros(len(self._slots.owner), dtype=np.int64)
        for slot, streams in self._waiting.items():
            needed[slot] = max((s.best.length for s in streams), default=0)
        slot = self._slots.choose(match, needed)
        if match.length and slot != match.slot:
            self._cache.copy(match.slot, slot, match.length)
        self._slots.take(slot, stream.handle, stream.prefix, match.length)
        stream.slot = slot
        self._running[slot] = stream
        for other in [s for s in self._waiting.pop(slot, ()) if s.best.length > match.length]:
            self._hope(other)  # what it hoped for is being overwritten
        if stream.wanted is not None:
            self.counters.scored += match.length
            self.counters.scored_cached += match.length
            self._settings[slot] = 0
            self._scoring.add(stream)
            return

        self.counters.prefill += match.length
        self.counters.prefill_cached += match.length
        s, forbid = stream.request.sampling, stream.request.forbid
        noise = np.uint64((s.noise or 0) % 2**64).astype(np.int64)
        self._settings[slot] = (len(stream.prefix), s.temperature, s.top_p, s.top_k, noise)
        if forbid and forbid.ids and forbid.first > stream.produced:
            self._forbidding.add(stream)

    def _release(self, stream: Stream) -> None:
        self._slots.free(stream.slot)
        self._forbidding.discard(stream)
        self._scoring.discard(stream)
        del self._running[stream.slot]

    # --- memory ---

    def _make_room(self) -> None:
        """Grow the cache for the longest stream. Where memory does not allow that for all slots, give up the shortest ones."""
        table, cache = self._slots, self._cache
        needed = int(table.known[table.owner >= 0].max())
        if needed <= cache.length:
            return
        for length in (min(max(needed, 2 * cache.length), self.context_length), needed):
            fits = int(self._memory // (self.facts["layers"] * self._position_bytes * (length + 1)))
            if fits >= cache.slots:
                break
        if fits < 1:
            raise MemoryError(
                f"A stream of {needed} tokens does not fit into the {self._memory / 2**30:.1f} GiB for keys and values; "
                "lower engine.max_model_len or raise engine.kv_cache_gib."
            )
        order = np.argsort(-(table.known + (table.owner >= 0) * self.context_length), kind="stable")  # busy first, then longest
        keep, dropped = np.sort(order[:fits]), order[fits:]
        for slot in dropped.tolist():
            if slot in self._running:
                self._requeue(self._running[slot])
        cache.resize(keep, length)
        if len(dropped):
            table.keep(keep)
            self._settings = self._settings[keep]
            self._running = {new: self._running[old] for new, old in enumerate(keep.tolist()) if old in self._running}
            for slot, stream in self._running.items():
                stream.slot = slot
            self._waiting.clear()
            for stream in self._streams.values():
                if stream.slot < 0:
                    self._hope(stream)

    def _requeue(self, stream: Stream) -> None:
        """Back to the queue with what it has written; it goes on the same, as noise depends on positions alone."""
        slot = stream.slot
        stream.prefix = self._slots.ids[slot, : self._slots.known[slot]].copy()
        self._release(stream)
        stream.slot = -1
        heapq.heappush(self._queue, stream.rank)

    # --- one model step ---

    def _step(self) -> list[Chunk | Rows]:
        import torch

        table = self._slots
        self._make_room()
        pack = self._packer.pack({s.slot: s.wanted for s in self._scoring})
        logits = self._model(
            input_ids=torch.from_numpy(pack.tokens)[None].to(self.device),
            position_ids=torch.from_numpy(pack.positions)[None].to(self.device),
            logits_to_keep=torch.from_numpy(pack.outputs).to(self.device),
            use_cache=False,
            step=pack.step,
        ).logits[0, :, : self.padded.start]
        prefix_left = np.maximum(self._settings["prefix"] - table.cached, 0)
        self.counters.prefill += int(np.minimum(pack.fed, prefix_left).sum())
        table.cached += pack.fed
        self.counters.scored += sum(int(pack.fed[s.slot]) for s in self._scoring)
        drawn = len(pack.slots)
        chunks = self._read(logits[drawn:].float(), pack.asked) if pack.asked else []
        if drawn:
            chunks += self._write(logits[:drawn].float(), pack.slots)
        return chunks or alive((s.handle, s.request) for s in self._running.values())

    def _read(self, logits: Any, asked: list[tuple[int, int]]) -> list[Rows]:
        """Rows of scorings, from `logits` [rows, vocabulary], of which each of the slots `asked` has some."""
        import torch

        from . import sampler

        scorings = [(self._running[slot], n) for slot, n in asked]
        if self._head:
            values = iter(logits.tolist())
        else:
            labels = [s.request.labels(at) for s, n in scorings for at in s.wanted[:n].tolist()]
            pairs = [(row, label) for row, each in enumerate(labels) for label in each]
            rows, ids = (torch.tensor(x, device=logits.device) for x in zip(*pairs, strict=True)) if pairs else (None, None)
            flat = iter(sampler.logprobs(logits, rows, ids).tolist() if pairs else ())
            values = iter([list(islice(flat, len(each))) for each in labels])
        chunks, end = [], 0
        for s, n in scorings:
            s.wanted, end, new = s.wanted[n:], end + n, [tuple(row) for row in islice(values, n)]
            if new and (measure := sampler.CONFIDENCES.get(s.request.of)):
                new = [(value,) for value in measure(logits[end - n : end]).tolist()]
            if new:
                chunks.append(Rows(s.handle, new, done=not len(s.wanted)))
            if not len(s.wanted):
                self._release(s)
                del self._streams[s.handle]
        return chunks

    def _write(self, logits: Any, slots: np.ndarray) -> list[Chunk]:
        """A new id for each of `slots`, drawn from its row of `logits` [rows, vocabulary]."""
        table = self._slots
        ids, logprobs, sure = self._sample(logits, slots)
        table.append(slots, ids)
        self.counters.decoded += len(ids)
        chunks = []
        for i, (slot, token) in enumerate(zip(slots.tolist(), ids.tolist(), strict=True)):
            stream = self._running[slot]
            request = stream.request
            stream.produced += 1
            full = table.known[slot] >= self.context_length
            done = stream.produced >= request.limit or token in request.stop_ids or bool(full)
            chunks.append(Chunk(stream.handle, [token], [float(logprobs[i])] if request.logprobs else None, done, sure[i]))
            if done:
                self._release(stream)
                del self._streams[stream.handle]
        return chunks

    def _sample(self, logits: Any, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, list[Any]]:
        """Draw one id per row of `logits` [rows, vocabulary] -> (ids, untempered log-probabilities, confidences; if asked)."""
        import torch

        from . import sampler

        requests = [self._running[slot].request for slot in slots.tolist()]
        wanted = any(request.logprobs for request in requests)
        sure = sampler.confidences(logits, [request.confidences for request in requests])  # masks come below
        raw = logits.clone() if wanted and self._forbidding else logits
        for stream in list(self._forbidding):
            row = np.flatnonzero(slots == stream.slot)
            if stream.produced >= stream.request.forbid.first:
                self._forbidding.discard(stream)
            elif len(row):
                logits[int(row[0]), [i for i in stream.request.forbid.ids if i < logits.shape[1]]] = float("-inf")
        ids = logits.argmax(-1)
        warm = np.flatnonzero(self._settings["temperature"][slots] > 0)
        if len(warm):
            owners = slots[warm]
            settings = [self._settings[name][owners] for name in ("temperature", "top_p", "top_k", "noise")]
            settings = [torch.from_numpy(x).to(logits.device) for x in (*settings, self._slots.known[owners])]
            rows = torch.from_numpy(warm).to(logits.device)
            ids[rows] = sampler.draw(logits[rows], *settings)
        logprobs = sampler.logprob(raw, ids).cpu().numpy() if wanted else None
        return ids.cpu().numpy(), logprobs, sure
