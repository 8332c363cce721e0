"""Trains a critic without a target network, by joint batches: the form of CrossQ.

An agent learns to swing a pendulum up, from transitions (s, a, r, s') of its own, by
off-policy actor-critic: the critic Q(s, a) is fitted to r + discount * Q(s', a') with
a' = actor(s'), the actor climbs Q. Usually a' and s' go through an older copy of the
critic, the target network, as the critic would chase itself. CrossQ (Bhatt et al. 2024,
arXiv 1902.05605v4) leaves the copy out and normalises the critic. Then it matters how
the batches are made: in training mode a layer normalises by the statistics of its
batch, and actions of the buffer and of the present actor have different ones.

* `joint_renorm`, `joint_norm`: (s, a) and (s', a') are one batch, in one pass: the same
  statistics for both, with `tfbn.BatchRenorm` or `tfbn.BatchNorm`;
* `separate_renorm`, `separate_norm`: two passes, each by the statistics of its own;
* `none`: no normalisation, and no target network either.

BatchRenorm has the bounds of `tfbn.schedules.after`: CrossQ's 3 and 5, once the
averages have formed. The actor climbs the critic in inference mode, as in CrossQ.
Simpler than there: one critic, no entropy term, no normalisation in the actor.

All arms of a seed begin with the same weights. The table has the mean return of the
last actor over 200 steps (0 is best; hanging still is -1974), and how far the critic's
Q is above the discounted returns that the actor gets; both on the same 50 starts.
docs/renorm.md has what five seeds showed.

Usage: python examples/joint_critic.py [--seeds=3] [--steps=750]
"""

import functools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from absl import app
from absl import flags

import tfbn
from tfbn import schedules

_NAMES = "joint_renorm", "joint_norm", "separate_renorm", "separate_norm", "none"
_SEEDS = flags.DEFINE_integer("seeds", 3, "Number of repetitions.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 750, "Steps of the pendulums, after warm-up.")
_WARM_UP = flags.DEFINE_integer("warm_up", 250, "Steps with random actions before.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Transitions in a batch.")
_SWITCH = flags.DEFINE_integer("switch", 1000, "Updates until the bounds open.")
_RATE = flags.DEFINE_float(
    "learning_rate", 1e-3, "The critic's; the actor has a third."
)
_ARMS = flags.DEFINE_multi_enum("arm", list(_NAMES), _NAMES, "An arm; may be repeated.")

_PENDULUMS = 4  # that move at once
_ROUND = 50  # steps, and then an update for each transition
_EPISODE = 200
_DISCOUNT = 0.97


class Pendulums:
    """Pendulums to be swung up by a torque too weak to lift them; nothing ends early.

    The state is (cos angle, sin angle, speed / 8), the action is in [-1, 1]. Constants
    and reward are those of the classic control problem.
    """

    def __init__(self, num, rng):
        self.angle = rng.uniform(-np.pi, np.pi, num)
        self.speed = rng.uniform(-1.0, 1.0, num)

    @property
    def state(self):
        columns = np.cos(self.angle), np.sin(self.angle), self.speed / 8
        return np.stack(columns, axis=1).astype(np.float32)

    def step(self, action):
        """Moves by 0.05 s, and returns the rewards `[num]`, from -16.3 to 0."""
        torque = 2.0 * np.clip(action[:, 0], -1.0, 1.0)
        angle = (self.angle + np.pi) % (2 * np.pi) - np.pi
        reward = -(angle**2 + 0.1 * self.speed**2 + 0.001 * torque**2)
        force = 15.0 * np.sin(self.angle) + 3.0 * torque
        self.speed = np.clip(self.speed + 0.05 * force, -8.0, 8.0)
        self.angle = self.angle + 0.05 * self.speed
        return reward.astype(np.float32)


def network(size, norm, activation=None):
    """Two hidden layers, and normalisation before each layer if there is a `norm`."""
    layers = [keras.Input((size,))]
    for units in (64, 64):
        layers += [norm()] if norm else []
        layers += [keras.layers.Dense(units, activation="relu")]
    layers += [norm()] if norm else []
    return keras.Sequential([*layers, keras.layers.Dense(1, activation=activation)])


class Agent(keras.Model):
    """An actor and a critic, whose `train_step` is an update of both.

    Args:
        norm: what makes the critic's layers of normalisation; None for none.
        joint: bool, whether (s, a) and (s', a') are one batch.
    """

    def __init__(self, norm, joint):
        super().__init__()
        self.critic = network(4, norm)
        self.actor = network(3, None, activation="tanh")
        self.joint = joint
        self.built = True

    def call(self, state):
        return self.actor(state)

    def compile(self, learning_rate):
        """CrossQ's Adam: a momentum of 0.5 instead of 0.9."""
        critic_optimizer = keras.optimizers.Adam(learning_rate, beta_1=0.5)
        super().compile(critic_optimizer, steps_per_execution=_ROUND)
        self.actor_optimizer = keras.optimizers.Adam(learning_rate / 3, beta_1=0.5)

    def train_step(self, data):
        batch = keras.utils.unpack_x_y_sample_weight(data)[0]
        weights = self.critic.trainable_variables
        with tf.GradientTape() as tape:
            q, q_next = self.both(batch)
            target = batch["reward"] + _DISCOUNT * tf.stop_gradient(q_next)
            loss = tf.reduce_mean(tf.square(q - target))
        self.optimizer.apply(tape.gradient(loss, weights), weights)

        weights = self.actor.trainable_variables
        with tf.GradientTape() as tape:
            acted = tf.concat([batch["state"], self.actor(batch["state"])], 1)
            climb = -tf.reduce_mean(self.critic(acted, training=False))
        self.actor_optimizer.apply(tape.gradient(climb, weights), weights)
        return {"loss": loss}

    def both(self, batch):
        """Q(s, a) and Q(s', a'), each `[batch size, 1]`."""
        now = tf.concat([batch["state"], batch["action"]], 1)
        following = batch["next_state"]
        after = tf.concat([following, self.actor(following)], 1)
        if self.joint:  # one pass, the statistics of all
            both = self.critic(tf.concat([now, after], 0), training=True)
            return tf.split(both, 2)
        return self.critic(now, training=True), self.critic(after, training=True)


def _renorm(calls_per_update):
    rmax, dmax = schedules.after(_SWITCH.value * calls_per_update)
    return functools.partial(
        tfbn.BatchRenorm, rmax=rmax, dmax=dmax, momentum_warmup=True
    )


ARMS = {
    "joint_renorm": lambda: Agent(_renorm(1), joint=True),
    "joint_norm": lambda: Agent(tfbn.BatchNorm, joint=True),
    "separate_renorm": lambda: Agent(_renorm(2), joint=False),
    "separate_norm": lambda: Agent(tfbn.BatchNorm, joint=False),
    "none": lambda: Agent(None, joint=True),
}


class Buffer:
    """All transitions, and batches of them."""

    def __init__(self, size):
        columns = {"state": 3, "action": 1, "reward": 1, "next_state": 3}
        self.arrays = {k: np.zeros((size, n), np.float32) for k, n in columns.items()}
        self.filled = 0

    def add(self, **rows):
        """Appends rows, `[n, columns]` each."""
        num = len(rows["state"])
        for name, values in rows.items():
            self.arrays[name][self.filled : self.filled + num] = values
        self.filled += num

    def sample(self, size, rng):
        """Some of them, with repetitions."""
        rows = rng.integers(self.filled, size=size)
        return {name: values[rows] for name, values in self.arrays.items()}


def train(agent, seed):
    """Lets an agent act with noise, and updates it once for each transition."""
    rng = np.random.default_rng(seed)
    rounds = -(-(_WARM_UP.value + _STEPS.value) // _ROUND)
    buffer = Buffer(rounds * _ROUND * _PENDULUMS)
    act = tf.function(agent.actor)
    for number in range(rounds):
        begin = number * _ROUND
        if begin % _EPISODE == 0:
            pendulums = Pendulums(_PENDULUMS, rng)
        for step in range(begin, begin + _ROUND):
            state = pendulums.state
            action = rng.uniform(-1.0, 1.0, (_PENDULUMS, 1))
            if step >= _WARM_UP.value:
                noise = rng.normal(0.0, 0.2, (_PENDULUMS, 1))
                action = np.clip(act(state).numpy() + noise, -1.0, 1.0)
            reward = pendulums.step(action)[:, None] / 10
            following = pendulums.state
            buffer.add(state=state, action=action, reward=reward, next_state=following)
        if begin + _ROUND > _WARM_UP.value:
            batches = buffer.sample(_ROUND * _PENDULUMS * _BATCH.value, rng)
            agent.fit(batches, batch_size=_BATCH.value, shuffle=False, verbose=0)


def evaluate(agent):
    """The mean return, and by how much Q at the start exceeds discounted returns."""
    pendulums = Pendulums(50, np.random.default_rng(10**6))
    state = pendulums.state
    action = agent.actor(state).numpy()
    q = agent.critic(np.concatenate([state, action], 1)).numpy()[:, 0]
    total, discounted = 0.0, 0.0
    for step in range(_EPISODE):
        reward = pendulums.step(agent.actor(pendulums.state).numpy())
        total += reward
        discounted += _DISCOUNT**step * reward / 10
    return float(np.mean(total)), float(np.mean(q - discounted))


def table(results):
    """Returns the table of a dict from arm to the list of what `evaluate` returns."""
    base = next(iter(results))
    lines = [f"{'arm':16} return   minus {base:16} Q minus return"]
    for name, values in results.items():
        gain, excess = np.array(values).T
        change = gain - np.array(results[base])[:, 0]
        difference = f"{change.mean():+.0f}{_interval(change)}" if name != base else ""
        excesses = f"{excess.mean():+.2f}{_interval(excess, '.2f')}"
        lines.append(f"{name:16} {gain.mean():6.0f}   {difference:22} {excesses}")
    return "\n".join(lines)


def _interval(values, form=".0f"):
    """The 95 % interval of a mean, by Student's t; nothing for a single value."""
    if len(values) < 2:
        return ""
    from scipy import stats  # which nothing but this table needs

    low, high = stats.ttest_1samp(values, 0.0).confidence_interval()
    return f" ± {(high - low) / 2.0:{form}}"


def main(argv):
    """Trains, seed by seed, and prints the table."""
    del argv
    tf.get_logger().setLevel("ERROR")  # each arm is traced, as it has to be
    results = {name: [] for name in ARMS if name in _ARMS.value}
    for seed in range(_SEEDS.value):
        for name, found in results.items():
            keras.utils.set_random_seed(seed)
            agent = ARMS[name]()
            agent.compile(_RATE.value)
            train(agent, seed)
            found.append(evaluate(agent))
            print(f"seed {seed}: {name:16} return {found[-1][0]:6.0f}", end=", ")
            print(f"Q minus return {found[-1][1]:+.2f}", flush=True)
    print(table(results))


if __name__ == "__main__":
    app.run(main)
