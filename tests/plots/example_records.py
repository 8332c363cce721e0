"""Made-up records of every kind, with the values that such runs have.

Three runs of a VGG-like net: "vgg_none" and "vgg_bn" train, "vgg_none_large_rate"
diverges after 70 % of its steps.
"""

import math

import numpy as np

LAYERS = tuple(f"conv{i}" for i in range(1, 9)) + ("dense",)
STEP_SIZES = tuple(np.geomspace(0.05, 0.4, 6))

_STEPS = 40
_EVERY = 50
_RUNS = {  # label -> noise, size of gradients, curvature, whether it diverges
    "vgg_none": (0.5, 2.0, 30.0, False),
    "vgg_bn": (0.25, 0.6, 12.0, False),
    "vgg_none_large_rate": (0.6, 3.0, 60.0, True),
}


def example_runs(steps=_STEPS):
    """Returns three runs with `steps` records of each kind."""
    return {
        label: _run(np.random.default_rng(i), steps, *traits)
        for i, (label, traits) in enumerate(_RUNS.items())
    }


def _run(rng, steps, noise, size, sharpness, diverges):
    records = []
    for t in range(steps):
        progress = t / steps
        blow_up = 1.0
        if diverges:
            blow_up = (
                math.nan if progress > 0.7 else 1 + math.exp(60 * (progress - 0.6))
            )
        state = _State(rng, t * _EVERY, progress, noise, size * blow_up, sharpness)
        records += [
            _train(state, diverges),
            _ics(state),
            _landscape(state, "landscape", 1.0),
            _landscape(state, "landscape_random", 0.1),
            _activations(state),
            _replication(state),
            _theory(state),
            _noise_scale(state),
            _renorm(state),
        ]
        if t % 8 == 7:
            records += [_eval(state), _curvature(state), _surface(state)]
    return records


class _State:
    def __init__(self, rng, step, progress, noise, size, sharpness):
        self.rng = rng
        self.step = step
        self.progress = progress
        self.noise = noise
        self.size = size
        self.sharpness = sharpness
        self.loss = (2.3 * math.exp(-3 * progress) + 0.02) * self.noisy() * size / 2

    def noisy(self, count=None):
        return np.exp(self.noise * self.rng.normal(size=count))

    def record(self, kind, **values):
        return {"step": self.step, "kind": kind, **values}


def _train(state, diverges):
    values = {"loss": state.loss, "learning_rate": 0.5 if diverges else 0.1}
    values["accuracy"] = 0.98 - 0.88 * math.exp(-4 * state.progress)
    bounds = {"rmax": 1 + 2 * state.progress, "dmax": 5 * state.progress}
    return state.record("train", **values, **bounds)


def _eval(state):
    return state.record("eval", loss=state.loss + 0.4, accuracy=0.6 * state.progress)


def _shift(state, distance):
    norm = state.size * state.noisy()
    cosine = math.tanh(1.5 - 2 * state.progress + state.noise * state.rng.normal())
    values = {"distance": distance, "cosine": cosine * (norm / norm)}
    return values | {"norm": norm, "norm_after": norm * state.noisy()}


def _ics(state):
    layers = [
        {"name": name} | _shift(state, 0.1 * i * state.size * state.noisy())
        for i, name in enumerate(LAYERS)
    ]
    total = _shift(state, 2 * state.size * state.noisy())
    return state.record("ics", layers=layers, total=total)


def _landscape(state, kind, strength):
    sizes = np.array(STEP_SIZES)
    norm = state.size * state.noisy()
    bend = strength * state.sharpness * norm**2 * state.noisy(sizes.size)
    losses = state.loss + (0.5 * sizes**2 * bend - 0.02 * sizes * norm) * 0.2
    distances = sizes * norm * state.sharpness * state.noisy(sizes.size) * strength
    losses = np.where(
        losses > 50, np.inf, 0.4 * state.loss + 0.6 * np.maximum(losses, 0)
    )
    beta = np.max(distances / (sizes * norm))
    return state.record(
        kind,
        learning_rate=0.1,
        loss=state.loss,
        gradient_norm=norm,
        step_sizes=list(STEP_SIZES),
        losses=losses.tolist(),
        gradient_distances=distances.tolist(),
        beta=float(beta),
        local_linearity=float(beta * state.noisy()),
        layers=[
            {"name": name, "gradient_distances": (distances / (i + 2)).tolist()}
            for i, name in enumerate(LAYERS)
        ],
    )


def _activations(state):
    layers = [_activation(state, i, name) for i, name in enumerate(LAYERS)]
    return state.record("activations", layers=layers)


def _activation(state, i, name):
    mean = 0.3 + 2 * state.noise * state.progress * math.sin(i + 3 * state.progress)
    mean *= state.size
    deviation = state.size * (0.5 + 0.8 * state.progress)
    if not math.isfinite(mean):
        histogram = {"edges": [math.nan] * 33, "counts": [0] * 32}
    else:
        values = mean + deviation * state.rng.gumbel(size=600)
        counts, edges = np.histogram(values, bins=32)
        histogram = {"edges": edges.tolist(), "counts": counts.tolist()}
    return {
        "name": name,
        "mean": mean,
        "variance": deviation**2,
        "mean_change": 0.01 * state.size * state.noisy(),
        "variance_change": 0.03 * state.size * state.noisy(),
        "mean_drift": abs(mean - 0.3 * state.size) if state.step else 0.0,
        "variance_drift": abs(deviation**2 - 0.25) if state.step else 0.0,
        "unit": 3,
        "unit_mean": mean,
        "unit_variance": deviation**2,
        "percentiles": [mean - deviation, mean, mean + 1.2 * deviation],
        "histogram": histogram,
    }


def _curvature(state):
    top = state.sharpness * state.size * (0.5 + state.progress) * state.noisy()
    positions = np.array([-0.1, -0.02, 0.0, 0.01, 0.05, 0.2, 0.5, 0.8, 1.0])
    weights = np.array([1e-4, 0.05, 0.7, 0.2, 0.04, 5e-3, 1e-3, 1e-5, 3e-6])
    return state.record(
        "curvature",
        eigenvalue=top,
        smallest=-0.1 * top,
        residual=1e-4,
        iterations=20,
        nodes=(top * positions).tolist(),
        weights=(weights / weights.sum()).tolist(),
        layers=[
            {
                "name": name,
                "eigenvalue": top / (1 + i) * state.noisy(),
                "residual": 1e-3,
            }
            for i, name in enumerate(LAYERS)
        ],
    )


def _replication(state):
    layers = []
    for i, name in enumerate(LAYERS):
        distance = 0.1 * (i + 1) * state.size * state.noisy()
        layer = {"name": name, "distance": distance, "cosine": 0.6 + 0.05 * i - 0.4}
        layer["cosine"] += 0.3 * math.cos(
            9 * state.progress + state.noise * state.noisy()
        )
        layer["gradient_sum"] = 3 * state.size * state.noisy()
        layer["distance_faulty"] = 8 * distance * state.noisy()
        layer["cosine_faulty"] = 0.05 * state.rng.normal()
        layers.append(layer)
    return state.record("replication", layers=layers)


def _theory(state):
    layers = []
    for i, name in enumerate(LAYERS):
        norm = state.size * state.noisy() / (i + 1)
        layer = {"name": name, "norm": norm, "bound": norm * (1 + 1e-7)}
        layer["printed_bound"] = norm * (1 - 0.1 * state.rng.uniform())
        layer["relative_error"] = 1e-7 * state.noisy()
        layer["channel_violations"] = 3.0
        layers.append(layer | {"sum_residual": 1e-6, "projection_residual": 1e-6})
    return state.record("theory", layers=layers)


def _noise_scale(state):
    def estimates(share):
        norm = (
            state.size * share * (math.exp(-state.progress) + 0.2 * state.rng.normal())
        )
        return {
            "squared_norm": norm,
            "covariance_trace": 300 * share * state.size * state.noisy(),
        }

    layers = [{"name": name, **estimates(0.1)} for name in LAYERS]
    values = {"small_batch": 32, "large_batch": 128, "layers": layers}
    return state.record("noise_scale", **estimates(1.0), **values)


def _renorm(state):
    def layer(name):
        ratio, drift = state.noisy(16) * 1.2, state.rng.normal(size=16) * state.size
        rmax, dmax = 1 + 2 * state.progress, 5 * state.progress
        return {
            "name": name,
            "r_median": np.median(ratio),
            "r_least": ratio.min(),
            "r_largest": ratio.max(),
            "d_median": np.median(abs(drift)),
            "d_largest": abs(drift).max(),
            "r_clipped": np.mean(ratio > rmax),
            "d_clipped": np.mean(abs(drift) > dmax),
            "common_scale": np.exp(np.log(ratio).mean()),
            "mean_distance": np.median(abs(drift) / ratio),
            "rmax": rmax,
            "dmax": dmax,
        }

    return state.record("renorm", layers=[layer(name) for name in LAYERS])


def _surface(state):
    radii = np.linspace(-1, 1, 21)
    x, y = np.meshgrid(radii, radii, indexing="ij")
    bowl = state.sharpness * (x**2 + 0.3 * y**2 + 0.1 * x * y)
    losses = state.loss * (1 + bowl + 0.5 * np.sin(5 * x + 3 * y))
    losses = np.where(losses > 120, np.inf, losses)
    return state.record("surface_2d", radii=radii.tolist(), losses=losses.tolist())


def along_a_line(runs):
    """Returns the runs with their surfaces cut along the first direction."""
    return {
        label: [
            record | {"kind": "surface", "losses": _middle_column(record["losses"])}
            for record in records
            if record["kind"] == "surface_2d"
        ]
        for label, records in runs.items()
    }


def _middle_column(rows):
    return [row[len(row) // 2] for row in rows]
