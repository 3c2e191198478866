"""The benchmark suite behind compare.py: `rows` says what is compared, `ours` and `peer` run one side each, `setup` makes what
they need, `report` turns times into a table. Standard library only.
"""
