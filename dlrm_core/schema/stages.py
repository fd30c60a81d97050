"""Stages that are done once, and found again by digests of what went in and what came out.

A stage leaves a marker, FOLDER/stages/NAME.json. It holds a key (digest of parameters, inputs and the sources that the
stage runs) and the SHA-256 of every file that it made. A stage whose key and files still agree is not run again.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrm_core.schema.files import sha256_bytes, sha256_file, write_atomic


@dataclass(frozen=True)
class Marker:
    """Where a stage says that it is done, and with what."""

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        """FOLDER/stages/NAME.json."""
        return self.folder / "stages" / f"{self.name}.json"

    def holds(self, key: str) -> bool:
        """Whether the stage finished with this key and every file that it made is there unchanged."""
        if not self.path.is_file():
            return False
        state = json.loads(self.path.read_text())
        return state.get("status") == "finished" and state.get("key") == key and self._intact(state["outputs"])

    def _intact(self, outputs: dict[str, str]) -> bool:
        files = {name: self.folder / name for name in outputs}
        return all(path.is_file() and sha256_file(path) == outputs[name] for name, path in files.items())

    def read(self) -> dict[str, Any]:
        """The marker's content, or an empty one."""
        return json.loads(self.path.read_text()) if self.path.is_file() else {}

    def write(
        self,
        *,
        status: str,
        key: str | None,
        outputs: Iterable[Path] = (),
        reason: str | None = None,
        result: Any = None,
    ) -> None:
        """Say how the stage ended, which files it made (a mapping gives their SHA-256 too), and what came out besides."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        known = outputs if isinstance(outputs, Mapping) else {}
        digests = {
            os.path.relpath(path, self.folder): known.get(path) or sha256_file(path) for path in sorted(set(outputs))
        }
        state = {"status": status, "key": key, "reason": reason, "outputs": digests, "result": result}
        write_atomic(self.path, json.dumps(state, indent=2) + "\n")

    def clear(self) -> None:
        """Forget how the stage ended."""
        self.path.unlink(missing_ok=True)


def fingerprint(**parts: Any) -> str:
    """A stage's key: the SHA-256 of its parts as canonical JSON."""
    return sha256_bytes(json.dumps(parts, sort_keys=True).encode())


@dataclass(frozen=True)
class Made:
    """What a stage made: its files, with their SHA-256 where it knows them already, and a small result for the marker."""

    files: Mapping[Path, str] | None = None
    result: Any = None


def once(marker: Marker, key: str, folder: Path, run: Callable[[], Any]) -> Any:
    """Run a stage that fills `folder`, unless its marker holds; return the result of the :class:`Made` that it gave, if any.

    What an old or broken run left in `folder` goes first.
    """
    if marker.holds(key):
        return marker.read()["result"]
    marker.clear()
    shutil.rmtree(folder, ignore_errors=True)
    made = run()
    made = made if isinstance(made, Made) else Made()
    files = made.files if made.files is not None else [path for path in folder.rglob("*") if path.is_file()]
    marker.write(status="finished", key=key, outputs=files, result=made.result)
    return made.result
