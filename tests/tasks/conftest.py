from __future__ import annotations

import pytest


@pytest.fixture
def offline(monkeypatch):
    """A network that can be proved not to be used."""
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
