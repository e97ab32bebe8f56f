"""Importing Keras, without TensorFlow's start-up messages."""

from __future__ import annotations

import os
from typing import Any


def import_keras() -> Any:
    """Keras on TensorFlow."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    keras.config.set_image_data_format("channels_last")  # whatever the user's keras.json says
    return keras
