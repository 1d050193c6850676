"""A real worker whose ONNX Runtime sessions write down what each operator took; the folder is `PROFILES`."""

import os
from typing import Any, Final

import onnxruntime

PROFILES: Final = "BENCH_PROFILES"

_session = onnxruntime.InferenceSession


def _profiled(content: bytes, options: onnxruntime.SessionOptions, **more: Any) -> onnxruntime.InferenceSession:
    options.enable_profiling = True
    options.profile_file_prefix = f"{os.environ[PROFILES]}/onnxruntime"
    return _session(content, options, **more)


onnxruntime.InferenceSession = _profiled

if __name__ == "__main__":
    from worker.app import main

    main()
