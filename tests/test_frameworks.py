"""Frameworks inside a source, after the training process has used them: none hangs, all compute as they do there.

Forked workers hang in these where the process that was forked had used them: in a lock of a thread pool whose threads
are not there. Large inputs: small ones never reach a pool.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import procession
from tests.support import Made, run_script

SCRIPT = """
import os
import numpy as np
import procession
{imports}

class Source:
    def __init__(self):
{made}
    def __len__(self):
        return 4
    def __getitem__(self, i):
        x = np.random.default_rng(i).random((3, 700, 700), np.float32)
{item}

source = Source()
here = [source[i] for i in range(4)]  # its pools are warm now
with procession.Loader(source, workers=2, faults=procession.Faults(timeout=60)) as loader:
    there = [batch for _ in range(2) for batch in loader]
    threads = loader.statistics().threads
assert len(there) == 8
for one, other in zip(here * 2, there):
    one = np.asarray(one)
    assert type(other) is np.ndarray and one.shape == other.shape and one.dtype == other.dtype, (one, other)
    assert np.array_equal(one, other) if one.dtype.kind in "USO" else np.allclose(one, other, rtol=1e-4, atol=1e-4)
print("same", threads)
"""

# imports; what __init__ does; what __getitem__ does with x, 3 x 700 x 700
CASES: dict[str, tuple[str, str, str]] = {
    "TensorFlow ops": (
        "import tensorflow as tf",
        "pass",
        (
            "y = tf.image.resize(tf.transpose(x, (1, 2, 0)), (512, 512))\n"
            "return tf.linalg.matmul(tf.transpose(y, (2, 0, 1)), tf.transpose(y, (2, 1, 0)))"
        ),
    ),
    "a tf.function": (
        (
            "import tensorflow as tf\n@tf.function\ndef blurred(x):\n"
            "    return tf.nn.avg_pool2d(tf.transpose(x, (1, 2, 0))[None], 5, 1, 'SAME')"
        ),
        "pass",
        "return blurred(tf.constant(x))",
    ),
    "torch ops": (
        "import torch",
        "pass",
        (
            "y = torch.nn.functional.interpolate(torch.from_numpy(x)[None], size=(512, 512), mode='bilinear')\n"
            "return torch.nn.functional.conv2d(y, torch.ones(8, 3, 5, 5)) @ torch.ones(508, 64)"
        ),
    ),
    "torch transforms": (
        (
            "import torch\n"
            "class Compose:\n    def __init__(self, steps):\n        self.steps = steps\n"
            "    def __call__(self, x):\n        for step in self.steps:\n            x = step(x)\n        return x\n"
            "class Normalize(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.register_buffer('mean', torch.tensor([0.4, 0.5, 0.6]).reshape(3, 1, 1))\n"
            "    def forward(self, x):\n        return (x - self.mean) / 0.2"
        ),
        (
            "steps = [torch.from_numpy, Normalize(), lambda x: torch.flip(x, (2,)), torch.nn.AvgPool2d(3)]\n"
            "self.transform = Compose(steps)"
        ),
        "return self.transform(x)",
    ),
    "JAX ops": (
        "import jax, jax.numpy as jnp\n@jax.jit\ndef product(x):\n    return jnp.einsum('chw,cvw->chv', x, x)",
        "pass",
        "return product(x)",
    ),
    "OpenCV": (
        "import cv2",
        "pass",
        (
            "y = cv2.GaussianBlur(np.ascontiguousarray(x.transpose(1, 2, 0)), (0, 0), 5)\n"
            "return cv2.warpAffine(y, cv2.getRotationMatrix2D((350, 350), 30, 1.2), (700, 700))"
        ),
    ),
    "PIL": (
        "from PIL import Image, ImageFilter",
        "self.logo = Image.new('RGB', (64, 64), 'red')",
        (
            "image = Image.fromarray((x.transpose(1, 2, 0) * 255).astype(np.uint8))\n"
            "image.paste(self.logo, (5 * i, 5))\n"
            "return np.asarray(image.rotate(30).resize((224, 224)).filter(ImageFilter.GaussianBlur(2)))"
        ),
    ),
    "polars": (
        "import polars as pl",
        "self.frame = pl.DataFrame({'key': np.arange(400_000) % 1000, 'value': np.arange(400_000.0)})",
        (
            "grouped = self.frame.lazy().group_by('key').agg(pl.col('value').sum() + i).sort('key').collect()\n"
            "return grouped['value'].to_numpy() + x[0, 0, 0]"
        ),
    ),
    "pyarrow": (
        "import pyarrow as pa, pyarrow.compute as pc",
        "self.table = pa.table({'key': np.arange(400_000) % 1000, 'value': np.arange(400_000.0)})",
        (
            "grouped = self.table.group_by('key').aggregate([('value', 'sum')]).sort_by('key')\n"
            "return pc.add(grouped['value_sum'], float(i)).to_numpy()"
        ),
    ),
    "tokenizers": (
        (
            "import tokenizers, tokenizers.models, tokenizers.pre_tokenizers, tokenizers.trainers\n"
            "texts = [' '.join(str(n % 97) + 'x' * (n % 5) for n in range(k, k + 300)) for k in range(400)]"
        ),
        (
            "self.tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token='?'))\n"
            "self.tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()\n"
            "self.tokenizer.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(vocab_size=300))"
        ),
        "return np.array([encoded.ids[:300] for encoded in self.tokenizer.encode_batch(texts[i * 64 : i * 64 + 64])])",
    ),
}
KERAS: dict[str, tuple[str, str, str]] = {
    "preprocessing layers": (
        "import keras",
        "self.layers = keras.Sequential([keras.layers.Rescaling(2.0), keras.layers.Resizing(224, 224)])",
        "return self.layers(x.transpose(1, 2, 0)[None])",
    ),
    "a model's predict": (
        "import keras",
        (
            "self.model = keras.Sequential([keras.Input((700, 700, 3)), keras.layers.Conv2D(4, 5, strides=4), "
            "keras.layers.GlobalAveragePooling2D()])"
        ),
        "return self.model.predict(x.transpose(1, 2, 0)[None], verbose=0)",
    ),
}


def check(case: tuple[str, str, str], folder: Path, backend: str = "tensorflow") -> None:
    imports, made, item = case
    indented = ["\n".join(f"        {line}" for line in part.splitlines()) for part in (made, item)]
    script = SCRIPT.format(imports=imports, made=indented[0], item=indented[1])
    done = run_script(script, folder, check=False, TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND=backend)
    assert "same" in done.stdout, done.stderr[-3000:]


@pytest.mark.parametrize("name", CASES)
def test_a_framework_in_a_source(name: str, tmp_path: Path) -> None:
    check(CASES[name], tmp_path)


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
@pytest.mark.parametrize("name", KERAS)
def test_keras_in_a_source(name: str, backend: str, tmp_path: Path) -> None:
    check(KERAS[name], tmp_path, backend)


def test_what_is_imported_when_an_item_is_made_is_imported_once_for_all_workers() -> None:
    def inside(i: int) -> tuple[int, bool]:
        import torch

        parent = Path(f"/proc/{os.getppid()}/maps").read_text()  # the template, or, by itself, what started it
        return int(torch.tensor([i]).sum()), "libtorch" in parent

    with procession.Loader(Made(inside, 4), workers=2) as loader:
        assert list(loader) == [(i, True) for i in range(4)]
