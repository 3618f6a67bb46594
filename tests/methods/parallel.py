"""Parallel methods, written a second time and plainly from their papers: one chain and one token after the other, no scheduler,
no store. `model(ids, noise, banned)` is the next token, noises[i] the noise of pool member i."""

from collections import Counter
from dataclasses import dataclass, field

from s1x.streams.types import digest

from . import reference


@dataclass
class Plain:
    model: object
    encode: object
    decode: object
    context: int
    max_answer: int
    noises: list
    answer_of: object = None
    limit: int | None = None  # of thinking tokens
    decoded: int = 0  # tokens of all chains up to where they were cut, and of all answers
    max_answer_now: int | None = None
    prompts: list = field(default_factory=list)

    def prompt(self, text):
        return self.encode(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n")

    def most(self, prompt):
        room = self.context - len(prompt) - len(self.encode(reference.THINK + reference.ANSWER + reference.FINAL)) - 100
        return room if self.limit is None else min(self.limit, room)

    def thought(self, text, i):
        """A chain of thinking, with its stop, and why it ended."""
        prompt = self.prompt(text)
        ids = prompt + self.encode(reference.THINK)
        return reference.generate(
            self.model, ids, self.most(prompt), context=self.context, stop=self.stops, noise=self.noises[i]
        )

    @property
    def stops(self):
        return reference.stops_of(self.encode)

    def confidences(self, text, i, sure):
        """Of each token of thinking and answer what `sure(prefix, written)` says, a list for all that is written there."""
        out, reason = self.thought(text, i)
        thought, answer = (list(ids) for ids in self.close(text, i, out, reason))
        head = self.prompt(text) + self.encode(reference.THINK)
        return sure(head, thought) + sure(head + thought + self.closing(thought, reason), answer)

    def closing(self, thought, reason):
        closing = self.encode(reference.ANSWER)
        if reason == "length":
            closing = self.encode("" if self.decode(thought).endswith("\n") else "\n") + closing + self.encode(reference.FINAL)
        return closing

    def close(self, text, i, out, reason):
        """The thinking without its stop, and the answer."""
        start, thought = self.encode(reference.THINK), reference.strip(out, self.stops)
        ids = reference.finish(
            self.model, self.encode, self.decode, self.prompt(text), thought, reason, thought,
            start=start, context=self.context, max_answer=self.max_answer_now or self.max_answer, noise=self.noises[i],
        )  # fmt: skip
        return tuple(thought), tuple(ids[len(start) + len(thought) + len(self.closing(thought, reason)) :])

    def sample(self, text, i):
        return self.close(text, i, *self.thought(text, i))

    def answers(self, samples):
        return [self.answer_of(answer) for _, answer in samples]

    # --- the papers ---

    def short(self, text, k, m, last=False):
        """2505.17813, section 3: the m that end first (2512.02008: last); and how much of the others was decoded, were they
        cut at the very token at which the m-th ended."""
        chains = [self.thought(text, i) for i in range(k)]
        order = sorted(range(k), key=lambda i: (-len(chains[i][0]) if last else len(chains[i][0]), i))
        return [self.close(text, i, *chains[i]) for i in order[:m]], order[:m], [len(out) for out, _ in chains]

    def adaptive(self, text, n, threshold):
        """2305.11860, algorithm 1 with its Beta criterion, integrated as it stands there."""
        samples = []
        for i in range(n):
            samples.append(self.sample(text, i))
            counts = [c for _, c in Counter(a for a in self.answers(samples) if a is not None).most_common(2)] + [0, 0]
            a, b, steps = counts[0], counts[1], 2_000
            grid = [(j + 0.5) / steps for j in range(steps)]
            density = [x**a * (1 - x) ** b for x in grid]
            if a and sum(density[steps // 2 :]) / sum(density) >= threshold:
                return samples, True
        return samples, False

    def esc(self, text, n, window):
        """2401.10480, algorithm 1."""
        samples = []
        while len(samples) < n:
            new = [self.sample(text, i) for i in range(len(samples), min(n, len(samples) + window))]
            samples += new
            if len(new) == window and len(set(self.answers(new))) == 1 and self.answers(new)[0] is not None:
                return samples, True
        return samples, False

    def show(self, words, question, samples, most, thoughts, name="candidates", label="Solution {}:\n"):
        """The prompt that shows the samples: their last tokens, as many of each as fit. Returns it, and what was left out."""
        parts = [[*t, *self.encode("\n"), *a] if thoughts else list(a) for t, a in samples]
        for keep in range(max(map(len, parts)), -1, -1):
            shown = [label.format(i) + self.decode(p[-keep:] if keep else []) for i, p in enumerate(parts)]
            fields = {"question": question, name: "\n\n".join(shown), "n": str(len(parts))}
            text = words
            for key, value in fields.items():
                text = text.replace(f"{{{key}}}", value)
            if len(self.prompt(text)) <= most or not keep:
                return text, sum(max(0, len(p) - keep) for p in parts)
        raise AssertionError

    def select(self, text, n, words, most, thoughts):
        """2507.17797: candidates, one comparison of all, the named one."""
        samples = [self.sample(text, i) for i in range(n)]
        prompt, cut = self.show(words, text, samples, most, thoughts)
        judgement = self.sample(prompt, 0)
        said = self.decode(list(judgement[1]))
        named = said.rpartition("Judgment: ")[2][:1] if "Judgment: " in said else ""
        valid = named.isdigit() and int(named) < n
        return samples, (prompt, *judgement), int(named) if valid else 0, valid, cut

    def rsa(self, text, n, k, rounds, words, most, noise):
        """2509.26626, algorithm 1: populations, each member from k of the last one drawn without replacement."""
        populations, lost = [[self.sample(text, i) for i in range(n)]], 0
        for t in range(1, rounds):
            new = []
            for i in range(n):
                ranked = sorted((digest("aggregate", noise, t, i, j), j) for j in range(n))
                seen = [populations[-1][j] for j in sorted(j for _, j in ranked[:k])]
                prompt, cut = self.show(words, text, seen, most, True)
                self.prompts.append(prompt)
                new.append(self.sample(prompt, i))
                lost += cut
            populations.append(new)
        return [sample for population in populations for sample in population], lost

    def pdr(self, text, n, rounds, distill, refine, workspace, most):
        """2510.01123, algorithm 1 with the global summary."""
        asked, samples, lost = text, [], 0
        for _ in range(rounds):
            drafts = [self.sample(asked, i) for i in range(n)]
            samples += drafts
            prompt, cut = self.show(distill, text, drafts, most, False)
            self.max_answer_now = workspace
            summary = self.sample(prompt, 0)
            self.max_answer_now = None
            asked, more = self.show(refine, text, [summary], most, False, "workspace", "")
            self.prompts += [prompt, asked]
            lost += cut + more
        return [*samples, self.sample(asked, 0)], lost
