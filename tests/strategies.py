"""Strategies of the property tests, and how many examples hypothesis tries of them.

The environment variable TFBN_HYPOTHESIS_PROFILE chooses:

    quick      few examples, the same in every run, and a failure as it was found. The
               default.
    thorough   more than a hundred times as many, other ones in every run, some of them
               on the trail of the largest error. A failure is made small, which may
               take minutes, and printed with what reproduces it.

    TFBN_HYPOTHESIS_PROFILE=thorough pytest tests/layers/training_properties_test.py

Hypothesis draws what describes a batch (`Batch`); its numbers come from NumPy, seeded
with what was drawn. So thousands of elements cost no more than a few, and a failing
example can be read.
"""

import dataclasses
import functools
import math
import os

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

hypothesis.settings.register_profile(
    "quick",
    max_examples=8,
    derandomize=True,
    database=None,
    # The first call of anything in TensorFlow takes long.
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.register_profile(
    "thorough",
    parent=hypothesis.settings.get_profile("quick"),
    max_examples=1000,
    derandomize=False,
    phases=list(hypothesis.Phase),
    print_blob=True,
)
PROFILE = os.environ.get("TFBN_HYPOTHESIS_PROFILE", "quick")
hypothesis.settings.load_profile(PROFILE)


def examples(factor):
    """A decorator: `factor` times the examples of the profile, for what is cheap or
    slow."""
    usual = hypothesis.settings.get_profile(PROFILE).max_examples
    return hypothesis.settings(max_examples=max(1, round(usual * factor)))


DTYPES = ("float32", "bfloat16", "float16")
# Where NumPy has wider numbers to check it with.
if np.finfo(np.longdouble).eps < np.finfo(np.float64).eps:
    DTYPES += ("float64",)
KINDS = ("normal", "uniform", "outlier", "binary")
MASKS = ("random", "samples", "all", "none", "one")

# What a finite number of each dtype is cut to.
_LARGEST = {"float16": 6e4}


@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch, as few words: its arrays are made of them.

    Attributes:
        offsets, scales: one for each channel.
        mask_sizes: the shape of the mask, or None. Sizes may be 1, and that along the
            channel axis is.
        poisoned: whether what is masked is NaN.
        groups: the number of virtual batches, a divisor of the number of samples.
        upstream_mean: of the gradient of the output, whose deviation is 1.
    """

    shape: tuple
    axis: int
    dtype: str
    kind: str
    offsets: tuple
    scales: tuple
    seed: int
    mask_kind: str | None = None
    mask_sizes: tuple | None = None
    poisoned: bool = False
    groups: int = 1
    upstream_mean: float = 0.0

    @property
    def channels(self):
        return self.shape[self.axis]

    @property
    def virtual_batch_size(self):
        return None if self.groups == 1 else self.shape[0] // self.groups

    @property
    def statistics_dtype(self):
        return "float64" if self.dtype == "float64" else "float32"

    @functools.cached_property
    def clean(self):
        """The input without NaN, float64 with values of the dtype."""
        rng = np.random.default_rng(self.seed)
        unit = _unit(rng, self.kind, (math.prod(self.shape) // self.channels,))
        rows = np.stack([rng.permutation(unit) for _ in range(self.channels)], -1)
        rows = rows * self.scales + self.offsets
        return self._rounded(self._from_rows(rows))

    @functools.cached_property
    def x(self):
        """The input."""
        if not self.poisoned:
            return self.clean
        return np.where(self.kept, self.clean, np.nan)

    @functools.cached_property
    def upstream(self):
        """A gradient of the output; 0 for what is poisoned."""
        rng = np.random.default_rng(self.seed + 1)
        upstream = rng.normal(size=self.shape) + self.upstream_mean
        if self.poisoned:
            upstream = np.where(self.kept, upstream, 0.0)
        return self._rounded(upstream)

    @functools.cached_property
    def mask(self):
        """What a layer takes, or None."""
        if self.mask_kind is None:
            return None
        rng = np.random.default_rng(self.seed + 2)
        sizes = self.mask_sizes
        if self.mask_kind == "one":
            mask = np.zeros(math.prod(sizes), bool)
            mask[rng.integers(mask.size)] = True
            return mask.reshape(sizes)
        if self.mask_kind == "samples":
            few = (sizes[0], *[1] * (len(sizes) - 1))
            return np.broadcast_to(rng.uniform(size=few) < 0.5, sizes)
        share = {"random": 0.6, "all": 1.0, "none": 0.0}[self.mask_kind]
        return rng.uniform(size=sizes) < share

    @functools.cached_property
    def kept(self):
        """What the mask keeps, of the input's shape."""
        if self.mask is None:
            return np.ones(self.shape, bool)
        return np.broadcast_to(self.mask[..., np.newaxis], self.shape)

    def samples(self, chosen):
        """The arrays `(x, upstream, mask)` of some samples."""
        mask = self.mask
        if mask is not None:
            mask = np.broadcast_to(mask, (self.shape[0], *mask.shape[1:]))[chosen]
        return self.x[chosen], self.upstream[chosen], mask

    def rows(self, array):
        """An array of the input's shape as long double `[elements, channels]`."""
        array = np.moveaxis(wide(array), self.axis, -1)
        return array.reshape(-1, self.channels)

    def _from_rows(self, rows):
        moved = np.moveaxis(np.empty(self.shape), self.axis, -1).shape
        return np.moveaxis(rows.reshape(moved), -1, self.axis)

    def _rounded(self, array):
        largest = _LARGEST.get(self.dtype, np.inf)
        array = tf.cast(np.clip(array, -largest, largest), self.dtype)
        return tf.cast(array, tf.float64).numpy()


def wide(array):
    """A tensor or an array, in long double."""
    if not isinstance(array, np.ndarray):
        array = tf.cast(array, tf.float64).numpy()
    return array.astype(np.longdouble)


def _unit(rng, kind, size):
    """Numbers of size 1."""
    if kind == "normal":
        return rng.normal(size=size)
    if kind == "uniform":
        return rng.uniform(-1.0, 1.0, size)
    if kind == "binary":
        return rng.integers(2, size=size).astype("float64")
    if kind == "integers":
        return rng.integers(-1000, 1001, size=size).astype("float64")
    numbers = rng.normal(size=size)
    numbers[0] = 1e3
    return numbers


def seeds():
    return st.integers(0, 2**31 - 1)


def offsets():
    return st.sampled_from((0.0, 1.0, -30.0, 1e4, -1e6)) | st.floats(
        -1e6, 1e6, width=32
    )


def scales():
    return st.sampled_from((0.0, 1.0)) | st.floats(-6.0, 6.0).map(lambda p: 10.0**p)


def epsilons():
    return st.sampled_from((1e-3, 1e-5)) | st.floats(-12.0, 0.0).map(lambda p: 10.0**p)


def momenta():
    return st.sampled_from((0.0, 0.99, 1.0)) | st.floats(0.0, 1.0)


@st.composite
def shapes(draw, limit=4000):
    """`(shape, axis)` of rank 2 to 5 and up to `limit` elements."""
    rank = draw(st.integers(2, 5))
    channels = draw(st.integers(1, 6))
    left, sizes = limit // channels, []
    for _ in range(rank - 1):
        size = draw(st.integers(1, 9) | st.sampled_from((16, 31, 64, 250, 1031)))
        sizes.append(min(size, left))
        left //= sizes[-1]
    axis = draw(st.integers(0, rank - 1) | st.just(rank - 1))
    sizes.insert(axis, channels)
    return tuple(sizes), draw(st.sampled_from((axis, axis - rank)))


@st.composite
def batches(draw, dtypes=DTYPES, masks=True, virtual=True, shape_axis=None):
    """A `Batch`, with a mask and virtual batches at times."""
    shape, axis = draw(shapes() if shape_axis is None else shape_axis)
    channels = shape[axis]
    of_channels = functools.partial(st.lists, min_size=channels, max_size=channels)
    mask_kind = draw(st.none() | st.sampled_from(MASKS)) if masks else None
    sizes = None
    if mask_kind is not None:
        # The same for all channels; conformance_test.py has masks that are not.
        most = [1 if i == axis % len(shape) else n for i, n in enumerate(shape)]
        sizes = tuple(draw(st.sampled_from((n, n, n, 1))) for n in most[:-1])
    # Virtual batches split axis 0, which then holds no channels. Their statistics
    # are averaged by a running sum: 1000 of them lose digits where all are alike.
    groups = 1
    if virtual and axis % len(shape) != 0:
        divisors = [n for n in range(1, min(shape[0], 128) + 1) if shape[0] % n == 0]
        groups = draw(st.just(1) | st.sampled_from(divisors))
    return Batch(
        shape=shape,
        axis=axis,
        dtype=draw(st.sampled_from(dtypes)),
        kind=draw(st.sampled_from(KINDS)),
        offsets=tuple(draw(of_channels(offsets()))),
        scales=tuple(draw(of_channels(scales()))),
        seed=draw(seeds()),
        mask_kind=mask_kind,
        mask_sizes=sizes,
        poisoned=mask_kind is not None and draw(st.booleans()),
        groups=groups,
        upstream_mean=draw(st.sampled_from((0.0, 3.0, -100.0))),
    )


def sample_shapes():
    """`shapes` with the samples along axis 0."""
    return shapes().filter(lambda drawn: drawn[1] % len(drawn[0]) != 0)


def long_shapes():
    """`(shape, axis)` of 2**16 elements or more, channels last: such as the kernels
    serve, and such as they do not."""
    return st.sampled_from(
        ((8200, 8), (4096, 16), (16, 16, 32, 12), (4, 6, 10, 40, 8), (32771, 4))
    ).map(lambda shape: (shape, -1))
