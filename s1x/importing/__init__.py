"""Other people's results as cells: lm-eval's samples, inspect_ai's logs, plain tables.

    found = reading.read(settings)           # all files, checked; nothing is written
    cells.write(found, directory, settings)  # cell.json, samples and results of each cell

What a file does not say is None in its cells, never 0: metrics leave out what needs it.
"""
