"""Tests of tfbn.diagnostics.norm_calls: which calls the check of theory looks into."""

import keras
import tensorflow as tf

import tfbn
from tests.testing_utils import classification_batch
from tests.testing_utils import cross_entropy
from tfbn.diagnostics import norm_calls
from tfbn.diagnostics import theory


class NormCallsTest(tf.test.TestCase):
    def test_layers_in_the_order_of_their_calls(self):
        inputs = keras.Input((3,))
        x = inputs
        for name in ("zeta", "alpha", "mu"):
            x = keras.layers.BatchNormalization(name=name)(keras.layers.Dense(3)(x))
        model = keras.Model(inputs, x)
        x, y = classification_batch((3,), 3)
        found = theory.gradient_identities(model, cross_entropy, x, y)
        self.assertEqual([f.name for f in found], ["zeta", "alpha", "mu"])
        (found,) = theory.gradient_identities(
            model, cross_entropy, x, y, layers=["alpha"]
        )
        self.assertEqual(found.name, "alpha")

    def test_others_are_left_out_and_refused_by_name(self):
        options = {"dmax": 1.0, "rmax": 2.0}
        norms = {
            "renormalises": tfbn.BatchRenorm(name="a", **options),
            "an l_p norm": tfbn.LpBatchNorm(name="b"),
            "virtual batches": tfbn.BatchNorm(name="c", virtual_batch_size=4),
            "is frozen": tfbn.BatchNorm(name="e", trainable=False),
            "which ren": keras.layers.BatchNormalization(name="f", renorm=True),
        }
        inputs = keras.Input((3,))
        x = inputs
        for norm in norms.values():
            x = norm(x)
        # Diagnostics take the global batch, on one device.
        x = tfbn.BatchNorm(name="plain", synchronized=True)(x)
        model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))
        x, y = classification_batch((3,), 3)
        (found,) = theory.gradient_identities(model, cross_entropy, x, y)
        self.assertEqual(found.name, "plain")
        for reason, norm in norms.items():
            with self.assertRaisesRegex(ValueError, f"'{norm.name}', .*{reason}"):
                theory.GradientIdentityMeter(model, cross_entropy, layers=[norm.name])
        with self.assertRaisesRegex(ValueError, "e, f, plain. Received: 'logits'"):
            theory.GradientIdentityMeter(model, cross_entropy, layers=["logits"])
        with self.assertRaisesRegex(ValueError, "Received: layers='plain'"):
            theory.GradientIdentityMeter(model, cross_entropy, layers="plain")

    def test_masked_and_inference_calls_do_not_count(self):
        class Inference(keras.Model):
            def __init__(self):
                super().__init__()
                self.norm = keras.layers.BatchNormalization(name="norm")
                self.logits = keras.layers.Dense(3)

            def call(self, x, training=None):
                return self.logits(self.norm(x, training=False))

        inputs = keras.Input((3, 1))
        norm = keras.layers.BatchNormalization(name="norm")
        x = norm(keras.layers.Masking(0.0)(inputs))
        x = keras.layers.GlobalAveragePooling1D()(x)
        masked = keras.Model(inputs, keras.layers.Dense(3)(x))
        x, y = classification_batch((3,), 3)
        for model, batch in ((masked, x[:, :, None]), (Inference(), x)):
            model(batch)
            args = model, cross_entropy, batch, y
            self.assertEqual(theory.gradient_identities(*args), [])
            with self.assertRaisesRegex(ValueError, "layers with 'norm', which is not"):
                theory.gradient_identities(*args, layers=["norm"])

    def test_names_of_layers_and_calls(self):
        names = {}
        for name in ("a", "a", "b", "a"):
            names[norm_calls.unused(name, names)] = True
        self.assertEqual(list(names), ["a", "a#2", "b", "a#3"])
        norm = keras.layers.BatchNormalization(name="norm")
        inputs = keras.Input((3,))
        inner = keras.Sequential(
            [keras.Input((3,)), keras.layers.BatchNormalization(name="norm")]
        )
        model = keras.Model(inputs, norm(norm(inner(inputs))))
        chosen = norm_calls.chosen_layers(model, None)
        self.assertEqual(chosen[id(norm)], "norm")
        self.assertLen(set(chosen.values()), 2)
        with self.assertRaisesRegex(ValueError, "by path .* Received: 'other'"):
            norm_calls.chosen_layers(model, ["other"])
        x, y = classification_batch((3,), 3)
        found = theory.gradient_identities(model, cross_entropy, x, y)
        self.assertEqual([f.name for f in found][1:], ["norm", "norm#2"])


if __name__ == "__main__":
    tf.test.main()
