"""What `run`, `table` and the scripts of ../ share: contenders, workloads, processes, figures. Python 3.11, nothing else."""
