"""The scripted engine with steps that take time, as a GPU's do: what processes share is seen in tokens and in seconds."""

import time

from s1x.engines.scripted import ScriptedEngine


class Slow(ScriptedEngine):
    def poll(self, wait: float = 1.0):
        time.sleep(0.1)
        return super().poll(wait)
