import pytest

from .sweep import write_sweep


@pytest.fixture(scope="session")
def aggregated(tmp_path_factory):
    """An aggregated sweep directory (test data, 60 questions) and its summary; read only."""
    from s1x.report.aggregate import aggregate

    directory = write_sweep(tmp_path_factory.mktemp("sweep"), questions=60)
    return directory, aggregate(directory)
