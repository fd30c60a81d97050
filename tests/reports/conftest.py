import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dlrm_core.metrics import calibration_curve, log_loss, roc_auc, roc_curve
from dlrm_core.schema.dataset import CategoricalFeature, DatasetSpec, Preparation, Source, Split
from dlrm_core.schema.environment import Environment
from dlrm_core.schema.files import sha256_file
from dlrm_core.schema.record import Metric, RunRecord, Series, write_record
from dlrm_core.schema.teacher import TeacherFile, TeacherRecord

ROWS = 1500


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


ENVIRONMENT = Environment(
    git_commit="c0ffee" + 34 * "0",
    git_dirty=True,
    source_digest=sha("sources"),
    python="3.11.2",
    operating_system="Linux x86_64",
    packages={"numpy": "2.4.6", "torch": "2.11.0"},
    processor="a processor",
    cores=2,
    memory_bytes=8 << 30,
    gpus=(),
)


@dataclass
class Runs:
    """A folder of runs that is made piece by piece, through the schemas, from rows with a known truth."""

    root: Path
    data_seed: int = 0
    truth_B: np.ndarray = field(init=False)
    label_B: np.ndarray = field(init=False)

    def __post_init__(self):
        rng = np.random.default_rng(self.data_seed)
        self.truth_B = rng.normal(-1.0, 1.2, ROWS)
        self.label_B = rng.random(ROWS) < 1 / (1 + np.exp(-self.truth_B))
        self.digest = sha(f"data {self.data_seed}")

    def noisy(self, noise: float, seed: int) -> np.ndarray:
        """Logits that know the truth up to this much noise."""
        return (self.truth_B + np.random.default_rng(1000 + seed).normal(0, noise, ROWS)).astype(np.float32)

    def dataset(self, folder: str = "data", source: str = "day_1") -> DatasetSpec:
        def split(name: str, rows: int, **more) -> Split:
            sources = (Source(name=name, size_bytes=10, sha256=sha(name)),) if rows else ()
            return Split(rows=rows, digests={"label.bin": sha(f"label {name}")}, sources=sources, **more)

        spec = DatasetSpec(
            numerical=("I1", "I2"),
            categorical=(
                CategoricalFeature(name="C1", file="cat_0.bin", cardinality=1234, dtype="int16", frequency_limit=15),
                CategoricalFeature(name="C2", file="cat_1.bin", cardinality=7, dtype="int8", frequency_limit=15),
            ),
            preparation=Preparation(),
            engine="polars",
            vocabulary_digest=sha("vocabulary"),
            splits={
                "train": split("day_0", 9000, holdback_rows=900, shuffle_seed=12345),
                "validation": split("none", 0),
                "test": split(source, ROWS),
            },
            digest=self.digest,
        )
        self.write(folder, "dataset.json", spec.to_json())
        return spec

    def teacher(self, name: str = "day_1") -> TeacherFile:
        best = TeacherFile(
            name=name,
            rows=ROWS,
            sha256=sha(name),
            best_auc=roc_auc(self.label_B, self.truth_B),
            best_log_loss=log_loss(self.label_B, self.truth_B),
            click_rate=float(self.label_B.mean()),
        )
        record = TeacherRecord(generator_version=1, description="planted", seed=2020, rows=ROWS, files=(best,))
        self.write("raw/teacher", "teacher.json", record.to_json())
        return best

    def write(self, folder: str, name: str, text: str) -> Path:
        target = self.root / folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def record(self, folder: str, command: str, name: str, **fields) -> RunRecord:
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        defaults = {
            "status": "finished",
            "repeat": f"dlrm {command} --out DIR",
            "config": {},
            "environment": ENVIRONMENT,
            "timings_s": {"total": 12.3},
        }
        record = RunRecord(command=command, name=name, **(defaults | fields))
        write_record(self.root / folder, record)
        return record

    def model(self, folder: str, command: str, name: str, logit_B: np.ndarray, **fields) -> RunRecord:
        folder_path = self.root / folder
        folder_path.mkdir(parents=True, exist_ok=True)
        path = folder_path / "predictions_test.safetensors"
        save_file({"logit": logit_B.astype(np.float32), "label": self.label_B.astype(np.uint8)}, path)
        series = tuple(fields.pop("series", ())) + curves(self.label_B, logit_B)
        defaults = {
            "dataset_digest": self.digest,
            "metrics": measure(self.label_B, logit_B, "chosen somehow"),
            "series": series,
            "outputs": {path.name: sha256_file(path)},
        }
        return self.record(folder, command, name, **(defaults | fields))

    def train(self, seed: int, noise: float = 0.5, logit_B: np.ndarray | None = None, **fields) -> RunRecord:
        logit_B = self.noisy(noise, seed) if logit_B is None else logit_B
        defaults = {
            "config": {"preset": "tiny", "train": {"seed": seed, "batch_size": 64, "model": {"embedding_dim": 16}}},
            "repeat": f"dlrm train --data DATA --out RUN --preset tiny --set seed={seed}",
            "seeds": {"model": seed},
            "series": training_curves(seed),
            "choices": {"stopping rows": "the last tenth", "selection": "last step"},
        }
        folder = fields.pop("folder", f"dlrm-seed-{seed}")
        return self.model(folder, "train", f"DLRM, preset tiny, seed {seed}", logit_B, **(defaults | fields))

    def baseline(self, name: str, logit_B: np.ndarray, **fields) -> RunRecord:
        fields = {"seeds": {"model": 12345}, "config": {"logistic_c": [0.1]}} | fields
        return self.model(f"baselines/{name}", "baselines", name, logit_B, **fields)

    def usual(self) -> "Runs":
        """A data set, two baselines (one at chance, one noisy) and one DLRM run."""
        self.dataset()
        self.baseline("constant", np.full(ROWS, -1.0, np.float32))
        self.baseline("logistic", self.noisy(1.5, 99))
        self.train(1)
        return self


def measure(label_B, logit_B, selection: str) -> tuple[Metric, ...]:
    values = {
        "auc": (roc_auc(label_B, logit_B), "1"),
        "log_loss": (log_loss(label_B, logit_B), "nat"),
        "mean_prediction": (float((1 / (1 + np.exp(-logit_B.astype(float)))).mean()), "clicks per row"),
        "click_rate": (float(label_B.mean()), "clicks per row"),
        "rows": (float(len(label_B)), "rows"),
    }
    return tuple(Metric(name=n, value=v, unit=u, split="test", selection=selection) for n, (v, u) in values.items())


def curves(label_B, logit_B) -> tuple[Series, ...]:
    predicted, observed, _ = calibration_curve(label_B, logit_B)
    return (
        series("roc", "test", *roc_curve(label_B, logit_B), labels=("false positive rate", "true positive rate")),
        series(
            "calibration", "test", predicted, observed, labels=("mean predicted probability", "observed click rate")
        ),
    )


def training_curves(seed: int) -> tuple[Series, ...]:
    rng = np.random.default_rng(seed)
    steps, looks = np.arange(20, 821, 20.0), np.array([205.0, 410.0, 615.0, 820.0])
    loss = 0.45 + 0.2 * np.exp(-steps / 200) + rng.normal(0, 0.008, len(steps))
    return (
        series("training_loss", "train", steps, loss, labels=("step", "log loss [nat]")),
        series("log_loss_by_step", "validation", looks, 0.46 + 0.1 * np.exp(-looks / 200), labels=("step", "log loss")),
        series("auc_by_step", "validation", looks, 0.75 - 0.1 * np.exp(-looks / 200), labels=("step", "ROC AUC")),
    )


def series(name: str, split: str, x, y, labels: tuple[str, str]) -> Series:
    points = {"x": tuple(float(v) for v in x), "y": tuple(float(v) for v in y)}
    return Series(name=name, split=split, x_label=labels[0], y_label=labels[1], **points)


@pytest.fixture
def runs(tmp_path) -> Runs:
    return Runs(tmp_path / "runs")
