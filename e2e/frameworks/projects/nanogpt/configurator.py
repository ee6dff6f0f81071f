"""Overrides globals of the script that runs this file: --key=value."""
import sys
from ast import literal_eval

for arg in sys.argv[1:]:
    key, val = arg.removeprefix('--').split('=')
    if key not in globals():
        raise ValueError(f"Unknown config key: {key}")
    try:
        val = literal_eval(val)
    except (SyntaxError, ValueError):
        pass
    print(f"Overriding: {key} = {val}")
    globals()[key] = val
