"""Models as files: where they are, what their files say, how they are keyed. Nothing here loads weights or imports torch."""
