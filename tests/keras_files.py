"""Changes what .keras files say of their models, as attackers and other versions do."""

import json
import os
import zipfile

# Objects that no model is made of, and how a config may name them.
FOREIGN = {
    "class_of_a_module": {
        "module": "os",
        "class_name": "system",
        "config": {"command": "true"},
        "registered_name": "system",
    },
    "function_of_a_module": {
        "module": "os",
        "class_name": "function",
        "config": "system",
        "registered_name": "system",
    },
    "under_the_name_of_ours": {
        "module": "os",
        "class_name": "system",
        "config": {"command": "true"},
        "registered_name": "tfbn>LinearRamp",
    },
    "ours_under_the_name_of_another": {
        "module": "os",
        "class_name": "tfbn>LinearRamp",
        "config": {"command": "true"},
        "registered_name": "system",
    },
    "builtin": {
        "module": "builtins",
        "class_name": "function",
        "config": "eval",
        "registered_name": "eval",
    },
    "download": {
        "module": "keras.utils",
        "class_name": "function",
        "config": "get_file",
        "registered_name": "get_file",
    },
    "module_of_ours": {
        "module": "tfbn.training",
        "class_name": "Trainer",
        "config": {},
        "registered_name": None,
    },
}


def change_layer(path, name, change):
    """Calls `change` on the entry of layer `name` in the config of a .keras file."""
    with zipfile.ZipFile(path) as file:
        parts = {part: file.read(part) for part in file.namelist()}
    config = json.loads(parts["config.json"])
    (layer,) = (i for i in config["config"]["layers"] if i["config"]["name"] == name)
    change(layer)
    parts["config.json"] = json.dumps(config)
    os.remove(path)
    with zipfile.ZipFile(path, "w") as file:
        for part, text in parts.items():
            file.writestr(part, text)
