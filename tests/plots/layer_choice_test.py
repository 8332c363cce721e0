"""Tests of tfbn.plots.layer_choice."""

import tensorflow as tf

from tfbn.plots import layer_choice
from tfbn.plots import runs


def _layers(*names):
    (run,) = runs.styled({"a": []})
    return runs.Layers(run, {name: [{"step": 1}] for name in names})


class LayerChoiceTest(tf.test.TestCase):
    def test_chosen_layers(self):
        one = [_layers("conv1")]
        self.assertEqual(layer_choice.chosen(one, None), ["conv1"])
        with self.assertRaisesRegex(runs.NothingToDraw, "besides the first"):
            layer_choice.chosen(one, None, first=False)
        with self.assertRaisesRegex(runs.NothingToDraw, "No layer is in every run"):
            layer_choice.chosen([_layers("conv1"), _layers("conv2")], None)
        with self.assertRaisesRegex(ValueError, "Received: layers=conv2"):
            layer_choice.chosen(one, ["conv2"])
        self.assertEqual(
            layer_choice.chosen([_layers("a", "b")], ["b", "a", "b"]), ["b", "a"]
        )


if __name__ == "__main__":
    tf.test.main()
