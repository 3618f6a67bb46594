"""A scripted engine that takes its time without taking the processor's."""

import time

from s1x.engines.scripted import ScriptedEngine


class SlowEngine(ScriptedEngine):
    def poll(self, wait=1.0):
        time.sleep(0.02)
        return super().poll(wait)
