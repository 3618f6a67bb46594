"""What weighs alike in the loss of a step: every learned token (TRL's own way), or every sequence (s1's)."""

from __future__ import annotations

from trl import SFTTrainer


class SequenceTrainer(SFTTrainer):
    """A step's loss is the mean over its sequences of each one's mean over its learned tokens.

    That is what s1 trained on: sixteen devices took one sequence each, and transformers 4.46 averaged over a device's tokens,
    then over devices. Here it holds however a step is spread over devices, batches and accumulated passes. `sequences` is how
    many a step has.
    """

    loss_is_scaled_for_ga = True  # by `sequences`, which counts those of all passes

    def __init__(self, *args, sequences: int, **kwargs):
        super().__init__(*args, **kwargs)
        self.sequences = sequences

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """TRL's loss over `sequences` items, each token's log-probability divided by the learned tokens of its sequence."""

        def weighed(**arguments):
            outputs = model(**arguments)  # log_probs, label_mask: [sequences of this pass, tokens - 1]
            outputs.log_probs = outputs.log_probs / outputs.label_mask.sum(1, keepdim=True).clamp(min=1)
            return outputs

        return super().compute_loss(weighed, inputs, return_outputs, num_items_in_batch=self.sequences)
