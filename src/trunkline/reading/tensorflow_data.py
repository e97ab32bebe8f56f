"""Features as a `tf.data.Dataset`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from trunkline.errors import DataError
from trunkline.reading.libraries import needed
from trunkline.reading.streams import Batch, Stream


def tf_data(stream: Stream, names: tuple[str, ...], seed: int, epochs: int | None) -> Any:
    """Batches of (float features, int64 class numbers), with `class_names` as Keras's own datasets have.

    Each iteration of the dataset goes on with the next pass, in another order where it is shuffled.
    """
    if epochs is not None and epochs < 1:
        raise DataError(f"epochs={epochs} gives no data; give 1 or more, or None to go on for ever.")
    tf = needed("tensorflow", "tensorflow", "tf_data")
    passes = count()

    def batches() -> Iterator[Batch]:
        for _ in count() if epochs is None else range(epochs):
            yield from stream.batches((seed, next(passes)))

    signature = (
        tf.TensorSpec((None, *stream.inner), tf.as_dtype(stream.reader.dtype.name)),
        tf.TensorSpec((None,), tf.int64),
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    a_pass = -(-len(stream.rows) // stream.batch_size)
    there = tf.data.INFINITE_CARDINALITY if epochs is None and a_pass else a_pass * (epochs or 0)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(there)).prefetch(1)
    dataset.class_names = list(names)
    return dataset
