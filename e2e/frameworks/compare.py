"""Compares what two trainings saved: bit for bit, less the settings that a resumed training was started with."""
import sys


def load(path):
    if path.endswith(".npz"):
        import numpy

        return {name: value.tobytes() for name, value in numpy.load(path).items()}
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    import torch

    return torch.load(path, weights_only=False)


def differences(a, b, at="it"):
    if type(a).__name__ in ("Tensor", "Parameter"):
        return [] if a.dtype == b.dtype and a.equal(b) else [at]
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [at]
        return [each for key in a if key != "config" for each in differences(a[key], b[key], f"{at}[{key!r}]")]
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [at]
        return [each for n, pair in enumerate(zip(a, b)) for each in differences(*pair, f"{at}[{n}]")]
    return [] if a == b else [at]


found = differences(load(sys.argv[1]), load(sys.argv[2]))
print("the same" if not found else "\n".join(found))
