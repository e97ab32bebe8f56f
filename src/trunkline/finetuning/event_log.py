"""TensorBoard's event logs: the curves of an epoch, written by TensorFlow itself; TensorBoard need not be installed."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from pathlib import Path
from typing import Any

from trunkline.finetuning.history import Epoch
from trunkline.locations import Location

FIGURES = ("loss", "val_loss", "val_accuracy", "val_macro_f1", "rate", "images_per_second")

log = logging.getLogger(__name__)


class EventLog:
    """Files under `<result>/logs/`, one folder a phase. In a bucket they appear after each epoch."""

    def __init__(self, folder: Location) -> None:
        self._folder = folder
        self._temporary = None if folder.is_local else tempfile.TemporaryDirectory(prefix="trunkline-events-")
        self._here = folder.path if self._temporary is None else Path(self._temporary.name)
        self._writers: dict[str, Any] = {}

    def write(self, epoch: Epoch) -> None:
        """Add an epoch's figures; the step is the epoch's number. A log that cannot be written is no reason to stop."""
        try:
            self._write(epoch)
        except Exception as error:  # TensorFlow's file systems raise errors of their own
            log.warning("The event log in %s was not written: %s", self._folder, error)

    def _write(self, epoch: Epoch) -> None:
        import tensorflow as tf

        if epoch.phase not in self._writers:
            self._writers[epoch.phase] = tf.summary.create_file_writer(str(self._here / epoch.phase))
        writer = self._writers[epoch.phase]
        with writer.as_default():
            for name in FIGURES:
                tf.summary.write(name, tf.constant(getattr(epoch, name), tf.float32), epoch.epoch, _as_scalar())
        writer.flush()
        if self._temporary:
            for path in (self._here / epoch.phase).iterdir():
                (self._folder / f"{epoch.phase}/{path.name}").write(path.read_bytes())

    def close(self) -> None:
        """Nothing more comes."""
        with contextlib.suppress(Exception):  # as above
            for writer in self._writers.values():
                writer.close()
        if self._temporary:
            self._temporary.cleanup()


def _as_scalar() -> Any:
    """What tells TensorBoard to draw a curve; `tf.summary.scalar` would want TensorBoard to be installed."""
    import tensorflow as tf

    plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
    return tf.compat.v1.SummaryMetadata(plugin_data=plugin, data_class=1)  # DATA_CLASS_SCALAR
