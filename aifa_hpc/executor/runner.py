"""Runs one call of a bundle on the node, and leaves its outcome in the job's folder.

This file is the ``__main__.py`` of the bundle, a zip archive that Python runs as it is (zipapp). It needs the standard
library only and is written for Python 3.6, so that an old interpreter can still say that it is too old. cloudpickle
comes with the bundle.

The outcome is one file ``result-INDEX.RANK``: a line of JSON that any Python can read, and a pickle. It appears under
its name when it is whole.
"""

import json
import os
import platform
import sys
import traceback
import zipfile
from typing import Any


def main() -> int:
    """Runs the call and returns the exit code: 1 when it raised."""
    folder = os.getcwd()  # the job's own, which the function may leave
    index = os.environ.get("AIFA_ARRAY_TASK_ID", "0")
    rank = os.environ.get("SLURM_PROCID", "0")
    header: dict[str, Any] = {
        "ok": False,
        "python": platform.python_version(),
        "ranks": int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")),
    }
    body = b""
    with zipfile.ZipFile(sys.argv[0]) as bundle:
        about = json.loads(bundle.read("about.json").decode("utf-8"))
        if about["python"] != list(sys.version_info[:2]):
            header["kind"] = "PythonVersion"
            header["message"] = "{} is Python {}, and the function was pickled by {}".format(
                sys.executable, header["python"], ".".join(map(str, about["python"]))
            )
            print("aifa: " + header["message"], file=sys.stderr)  # noqa: T201 - the job's log
        else:
            body = _call(bundle, index, about.get("workdir", ""), header)
    _leave(os.path.join(folder, f"result-{index}.{rank}"), header, body)
    return 0 if header["ok"] else 1


def _call(bundle: zipfile.ZipFile, index: str, workdir: str, header: "dict[str, Any]") -> bytes:
    """Loads and runs the call, fills the header, and returns the pickle of what came of it."""
    import cloudpickle  # noqa: PLC0415 - from the bundle, once the version is known to fit

    try:
        header["stage"] = "load"
        if workdir:
            os.chdir(workdir)
        number, arguments = cloudpickle.loads(bundle.read("calls/" + index))
        function = cloudpickle.loads(bundle.read(f"functions/{number}"))
        args, kwargs = cloudpickle.loads(arguments)
        header["stage"] = "run"
        value = function(*args, **kwargs)
        header["stage"] = "return"
        body: bytes = cloudpickle.dumps(value)
    except BaseException as error:  # noqa: BLE001 - whatever it was, the caller is told
        traceback.print_exc()
        header["kind"] = type(error).__name__
        header["message"] = str(error)
        header["traceback"] = traceback.format_exc()
        try:
            told: bytes = cloudpickle.dumps(error)
        except Exception:  # noqa: BLE001 - an exception that holds what cannot be pickled is told in words
            told = b""
        return told
    header["ok"] = True
    return body


def _leave(path: str, header: "dict[str, Any]", body: bytes) -> None:
    """Writes the outcome; what stands under its name is whole."""
    part = f"{path}.{os.getpid()}.part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(header).encode("utf-8") + b"\n" + body)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, path)


if __name__ == "__main__":
    sys.exit(main())
