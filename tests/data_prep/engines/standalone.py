"""A real Spark standalone cluster on the loopback interface: a master and two workers, each a process of its own."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.engines.spark_settings import java_home

WORKERS = 2
SMALL_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_cluster(folder: Path) -> Iterator[str]:
    """The URL of a master with two workers of one core and 512 MiB; all stop at the end."""
    import pyspark

    spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
    environment = os.environ | {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": SMALL_JVM,
        "SPARK_NO_DAEMONIZE": "1",
    }
    environment |= {"JAVA_HOME": home} if (home := java_home()) else {}
    port = free_port()
    url = f"spark://127.0.0.1:{port}"
    place = ["--host", "127.0.0.1", "--webui-port", "0"]
    commands = {"master": ["master.Master", *place, "--port", str(port)]}
    for i in range(WORKERS):
        size = ["--cores", "1", "--memory", "512m", "--work-dir", str(folder / f"work-{i}")]
        commands[f"worker-{i}"] = ["worker.Worker", *place, *size, url]
    started = []
    try:
        for name, (main, *options) in commands.items():
            command = [str(spark_class), f"org.apache.spark.deploy.{main}", *options]
            with (folder / f"{name}.log").open("wb") as log:
                started.append(subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log))
        wait_for_workers(folder)
        yield url
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(timeout=30)


def wait_for_workers(folder: Path) -> None:
    end = time.monotonic() + 60
    while (folder / "master.log").read_text().count("Registering worker") < WORKERS:
        assert time.monotonic() < end, (folder / "master.log").read_text()
        time.sleep(0.1)
