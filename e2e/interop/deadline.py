"""Runs the handler of a file, as Systems Manager's aws:executeScript does, and prints what it returns."""
import importlib.util
import json
import sys

spec = importlib.util.spec_from_file_location("deadline", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(json.dumps(module.handler({}, {})))
