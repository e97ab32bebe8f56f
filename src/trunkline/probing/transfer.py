"""NCE and LEEP: what a classifier's own classes say of the labels, with nothing trained. They rank networks, not cuts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def nce(predicted: NDArray[np.integer], labels: NDArray[np.integer]) -> float:
    """Negative conditional entropy −H(label | predicted class) in nats; higher is better, at most 0.

    A. Tran, C. Nguyen, T. Hassner, "Transferability and Hardness of Supervised Classification Tasks", ICCV 2019.

    Parameters
    ----------
    predicted : (n,) the network's own class of each image.
    labels : (n,) from 0.
    """
    joint = np.zeros((int(predicted.max()) + 1, int(labels.max()) + 1))
    np.add.at(joint, (predicted, labels), 1.0 / len(labels))
    marginal = np.broadcast_to(joint.sum(axis=1, keepdims=True), joint.shape)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / marginal[there])).sum())


def leep(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Log expected empirical prediction in nats, the mean over images; higher is better, at most 0.

    C. Nguyen, T. Hassner, M. Seeger, C. Archambeau, "LEEP: A New Measure to Evaluate Transferability of Learned Representations",
    ICML 2020: the likelihood of the labels where each image draws one of the network's classes, and then a label as often as that
    class came with it.

    Parameters
    ----------
    probabilities : (n, z) of the network's own classes; rows sum to 1.
    labels : (n,) from 0.
    """
    theta = probabilities.astype(np.float64)
    joint = np.zeros((int(labels.max()) + 1, theta.shape[1]))
    np.add.at(joint, labels, theta / len(labels))
    marginal = joint.sum(axis=0)
    given = np.divide(joint, marginal, out=np.zeros_like(joint), where=marginal > 0)
    likelihood = (theta * given[labels]).sum(axis=1)
    return float(np.log(np.maximum(likelihood, np.finfo(np.float64).tiny)).mean())
