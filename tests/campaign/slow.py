"""The scripted engine with steps that take time, as a GPU's do: what several processes share is seen in tokens and in seconds."""

import time

from s1x.engines.scripted import ScriptedEngine


class Slow(ScriptedEngine):
    def poll(self, wait: float = 1.0):
        time.sleep(0.02)
        return super().poll(wait)
