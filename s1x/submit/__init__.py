"""Submit and leave: a command's work as jobs of a scheduler (`submit=slurm`), or as processes of this machine (`submit=local`).

The questions are shared out to shards, which decode into the store and make no results; the task that reports is the command
itself, which finds everything there (and decodes what a shard left).
"""
