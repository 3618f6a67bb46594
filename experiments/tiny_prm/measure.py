"""The numbers of tiny-prm's card, from a finished run of best_of_n on tiny_math.

    python run.py method=best_of_n scorer=tiny_prm method.by=last method.vote=weighted sampling.temperature=1 \
        tracking=none hydra.run.dir=DIR [task.limit=160]
    python experiments/tiny_prm/measure.py DIR --half first [--scorer FOLDER]

The first half of the test split (problems 0 to 159) is for development, the second was looked at once. --scorer: other weights
than the run's, of the same format.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from s1x.chat import Chat, ChatFormat
from s1x.engines.build import build
from s1x.evaluation.scorers import open_scorer
from s1x.metrics.intervals import resampled_means
from s1x.metrics.voting import expected_best_of_k, weighted_majority
from s1x.models.tokenizer import load_tokenizer
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Model
from s1x.tiny import benchmarks, measured
from s1x.tiny.labels import kind, labels

HALF = 160
HERE = Path(__file__).parents[2] / "s1x" / "tiny" / "models"
STRINGS = {"name": "tiny-prm", "mark": "\n", "separator": "\n", "answer": False, "labels": ["+", "-"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--half", choices=("first", "second"), required=True)
    parser.add_argument("--scorer", type=Path, default=HERE / "tiny-prm")
    parser.add_argument("--store", type=Path, default=Path(".s1x/store"))
    args = parser.parse_args()
    rows = [json.loads(line) for line in next(args.run.glob("samples_*.jsonl")).open()]
    half = benchmarks.load("test")[:HALF] if args.half == "first" else benchmarks.load("test")[HALF:]
    problems = {problem.question: problem for problem in half}
    rows = [row for row in rows if row["doc"]["question"] in problems]
    chat = Chat(ChatFormat(), load_tokenizer({"path": str(HERE / "tiny-s1"), "revision": None, "tokenizer": None}), 2048)

    engine = {"_target_": "s1x.engines.transformers.TransformersEngine", "threads": 1}
    group = STRINGS | {"model": {"path": str(args.scorer)}}
    scorer, model = open_scorer(engine, group, args.store)

    members = [(problems[row["doc"]["question"]], member) for row in rows for member in row["samples"]]
    traces = []
    for problem, member in members:
        ids = tuple(i for s in member["segments"] if s["kind"] == "thinking" for i in s["ids"])
        traces.append((problem, scorer.steps(chat.decode(ids))))
    found = measured.values(scorer, model, [(p.question, lines) for p, lines in traces])
    model.scores.flush()

    print(f"{args.half} half: {len(rows)} problems, {len(traces)} traces, scorer {args.scorer}")
    flat = [(v, ok, kind(line)) for (p, lines), values in zip(traces, found) for line, v, ok in
            zip(lines, values, labels(p, lines)) if ok is not None]  # fmt: skip
    score, right, kinds = zip(*flat)
    print(f"steps: {len(flat)}, right {np.mean(right):.3f}, AUC {measured.auc(score, right):.4f}, "
          f"ECE {measured.calibration_error(score, right):.4f}")  # fmt: skip
    for what in ("+", "-", "*", "**", "check", "so", None):
        some = [(v, ok) for v, ok, k in flat if k == what]
        if some:
            print(f"  {what}: {len(some)}, right {np.mean([ok for _, ok in some]):.3f}, AUC {measured.auc(*zip(*some)):.4f}")

    reward = np.array([v[-1] if v else 0.0 for v in found]).reshape(len(rows), -1)
    correct = np.array([m["score"] == 1 for _, m in members]).reshape(len(rows), -1)
    logprob = np.array([m["info"]["logprob_mean"] for _, m in members]).reshape(len(rows), -1)
    ended = np.array([bool(lines) and kind(lines[-1]) == "so" for _, lines in traces])
    print(f"answers: right {correct.mean():.3f}, AUC {measured.auc(reward.ravel(), correct.ravel()):.4f}, "
          f"ECE {measured.calibration_error(reward.ravel(), correct.ravel()):.4f}; "
          f"the last line is a So in {ended.mean():.4f}")  # fmt: skip
    for name, by in (("scorer", reward), ("log-probability", logprob)):
        each = [measured.auc(s, c) for s, c in zip(by, correct) if c.any() and not c.all()]
        means = resampled_means(np.array(each)[:, None], resamples=10_000)[:, 0]
        low, high = np.quantile(means, (0.025, 0.975))
        print(f"within a problem, by {name}: AUC {np.mean(each):.4f} [{low:.4f}, {high:.4f}] over {len(each)} mixed problems")

    n = correct.shape[1]
    table: dict[str, list[float]] = {}
    for row, c, r, lp in zip(rows, correct, reward, logprob):
        answers = [m["extracted"] for m in row["samples"]]
        for name, value in {
            "majority": row["votes"]["maj"][str(n)],
            "mean of samples": c.mean(),
            "pass": float(c.any()),
            "best by log-probability": expected_best_of_k(list(lp), list(c), n),
            "vote by log-probability": weighted_majority(answers, list(c), list(np.exp(lp))),
            "best by scorer": expected_best_of_k(list(r), list(c), n),
            "vote by scorer": weighted_majority(answers, list(c), list(r)),
        }.items():
            table.setdefault(name, []).append(float(value))
    base = np.array(table["majority"])
    for name, values in table.items():
        difference = resampled_means((np.array(values) - base)[:, None], resamples=10_000)[:, 0]
        low, high = np.quantile(difference, (0.025, 0.975))
        print(f"{name} of {n}: {100 * np.mean(values):.1f}, against majority {100 * (np.mean(values) - base.mean()):+.1f} "
              f"[{100 * low:+.1f}, {100 * high:+.1f}]")  # fmt: skip
    tokens = sum(m["thinking_tokens"] for _, m in members) / len(rows)
    scored = sum(len(scorer.encode(p.question, lines)[0]) for p, lines in traces if lines) / len(rows)
    print(f"tokens a problem: thinking {tokens:,.0f}, read by the scorer {scored:,.0f}")

    pairs = measured.slip_pairs(traces, 300)
    policy = Model(build(engine, {"path": str(HERE / "tiny-s1"), "revision": None, "tokenizer": None}), MemoryStore())
    for name, scores in (
        ("scorer", [v[-1] for v in measured.values(scorer, model, measured.both(pairs))]),
        ("probability of the line", measured.probabilities(chat, policy, measured.both(pairs))),
    ):
        print(f"slip test, {name}: pairs, mean right, mean slipped, share that falls (by more than .2), AUC")
        for what, t in measured.slip_table(pairs, scores).items():
            means = f"{t['pairs']}, {t['right']:.3f}, {t['slipped']:.3f}"
            print(f"  {what}: {means}, {t['falls']:.3f} ({t['falls_by_0.2']:.3f}), {t['auc']:.3f}")
    model.scores.close()
    model.engine.close()


if __name__ == "__main__":
    main()
