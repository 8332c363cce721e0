"""The built-in image data set: ten textured shapes in two palettes, no download.

It is small enough to draw in seconds, hard enough that a linear classifier fails
(position, size, angle, colour and polarity all vary), and easy enough that a convnet
passes 90 % in some hundred steps: room to see a normalisation layer at work.

The palette is the *domain* of an image, drawn independently of its class: warm and
bright, or cold and dark. Sampling first one, then the other ("first brown dogs, then
black dogs") gives batches whose statistics differ from the population's.
"""

import numpy as np

from tfbn import validation
from tfbn.data.dataset import Dataset
from tfbn.data.dataset import Split
from tfbn.data.dataset import channel_moments
from tfbn.data.outlines import OUTLINES

SIZE = 32
CLASSES = tuple(outline.__name__ for outline in OUTLINES)
DOMAINS = ("warm", "cold")

# Colours are in units of the stored images, 0 to 255; one row a domain.
_PALETTE_MEANS = np.array([[185, 140, 95], [60, 85, 120]], np.float32)
_PALETTE_STDDEVS = np.array([[28, 24, 20], [12, 14, 18]], np.float32)
_CONTRASTS = np.array([[60, 110], [40, 65]], np.float32)
_TEXTURE_AMPLITUDES = np.array([18, 9], np.float32)
_NOISE_STDDEV = 6.0
# How far a centre is from the image's centre along an axis, at most, in pixels; and
# how often the shape is brighter than its ground. At one half, brightness at a pixel
# would tell nothing, and a linear classifier would stay at chance.
_REACH = 3.0
_BRIGHTER = 0.9

# Images are drawn so many at a time: it bounds the memory, and it makes a small
# data set the beginning of a large one, as each chunk has a generator of its own.
_CHUNK = 500
_TRAIN, _TEST = 1, 2


def shapes(*, num_train=10_000, num_test=2_000, seed=0):
    """Draws the shapes data set.

    Args:
        num_train: int > 0, training images; default 10,000.
        num_test: int > 0, test images, other draws than the training images; default
            2,000.
        seed: int >= 0, default 0. The first images of a split depend on nothing else.

    Returns:
        A `Dataset`: inputs uint8 `[n, 32, 32, 3]`, targets int64 `[n]` (the index in
        `CLASSES`), domains int64 `[n]` (the index in `DOMAINS`).

    Raises:
        ValueError: if a number is no positive int or the seed no non-negative int.
    """
    num_train = validation.integer("num_train", num_train, minimum=1)
    num_test = validation.integer("num_test", num_test, minimum=1)
    seed = validation.integer("seed", seed, minimum=0)
    validation.memory(
        (num_train + num_test) * SIZE * SIZE * 3, num_train=num_train, num_test=num_test
    )
    train = _draw_split(num_train, seed, _TRAIN)
    mean, stddev = channel_moments(train.inputs)
    return Dataset(
        name="shapes",
        train=train,
        test=_draw_split(num_test, seed, _TEST),
        num_classes=len(CLASSES),
        mean=mean,
        stddev=stddev,
    )


def _draw_split(num_images, seed, split):
    """`num_images` images of one split, chunk by chunk."""
    # The last word of the key is never zero: NumPy pads short keys with zeros, and a
    # key of other data made from the same seed would then give the same stream.
    chunks = [
        _draw_chunk(np.random.default_rng((seed, index, split)))
        for index in range(-(-num_images // _CHUNK))
    ]
    inputs, targets, domains = (
        np.concatenate(parts) for parts in zip(*chunks, strict=True)
    )
    return Split(inputs[:num_images], targets[:num_images], domains[:num_images])


def _draw_chunk(rng):
    """Images, labels and domains of one chunk; all classes are equally frequent."""
    labels = rng.permutation(np.arange(_CHUNK) % len(CLASSES))
    domains = rng.integers(len(DOMAINS), size=_CHUNK)
    mask = _draw_masks(rng, labels)[..., np.newaxis]
    foreground, background = _draw_colours(rng, domains)
    images = mask * _draw_surface(rng, foreground, domains)
    images += (1 - mask) * _draw_surface(rng, background, domains)
    images += _NOISE_STDDEV * rng.standard_normal(images.shape, np.float32)
    return np.clip(np.rint(images), 0, 255).astype(np.uint8), labels, domains


def _draw_masks(rng, labels):
    """How much of each pixel the shape covers: float32 `[n, size, size]`, 0 to 1."""
    radius = _uniform(rng, 9, 12.5, len(labels))
    x, y = _pixels()
    # The centre stays so near the middle that a shape is hardly ever cut off.
    x = x - _uniform(rng, -_REACH, _REACH, len(labels))
    y = y - _uniform(rng, -_REACH, _REACH, len(labels))
    x, y = _rotate(x, y, _uniform(rng, 0, 2 * np.pi, len(labels)))
    distances = np.empty(x.shape, np.float32)
    for label, outline in enumerate(OUTLINES):
        of_label = labels == label
        r = radius[of_label]
        distances[of_label] = r * outline(x[of_label] / r, y[of_label] / r)
    return np.clip(0.5 - distances, 0, 1)


def _draw_colours(rng, domains):
    """Foreground and background, float32 `[n, 3]` each, of unlike brightness."""
    num_images = len(domains)
    middle = rng.standard_normal((num_images, 3), np.float32)
    middle = _PALETTE_MEANS[domains] + _PALETTE_STDDEVS[domains] * middle
    contrast = rng.uniform(*_CONTRASTS[domains].T)
    contrast *= rng.choice([1, -1], num_images, p=[_BRIGHTER, 1 - _BRIGHTER])
    # Channels differ in their share, so the two differ in hue as well.
    shares = rng.uniform(0.6, 1.4, (num_images, 3))
    half = (shares * contrast[:, np.newaxis] / 2).astype(np.float32)
    return middle + half, middle - half


def _draw_surface(rng, colours, domains):
    """Surfaces of the given colours with a wave on each: `[n, size, size, 3]`."""
    num_images = len(domains)
    x, y = _pixels()
    across, _ = _rotate(x, y, _uniform(rng, 0, np.pi, num_images))
    wavelength = _uniform(rng, 3, 12, num_images)
    phase = _uniform(rng, 0, 2 * np.pi, num_images)
    wave = np.sin(2 * np.pi / wavelength * across + phase)
    amplitude = _TEXTURE_AMPLITUDES[domains] * rng.uniform(0, 1, num_images)
    wave = wave * _per_image(amplitude)
    return colours[:, np.newaxis, np.newaxis, :] + wave[..., np.newaxis]


def _pixels():
    """Coordinates of the pixels' centres from the image's centre, in pixels."""
    line = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    return line[np.newaxis, np.newaxis, :], line[np.newaxis, :, np.newaxis]


def _rotate(x, y, angle):
    """The coordinates in axes turned by `angle`, in radians."""
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _uniform(rng, low, high, num_images):
    """One float32 draw an image, broadcastable to `[n, size, size]`."""
    return _per_image(rng.uniform(low, high, num_images))


def _per_image(values):
    """A value an image, float32 `[n, 1, 1]`."""
    return values.astype(np.float32)[:, np.newaxis, np.newaxis]
