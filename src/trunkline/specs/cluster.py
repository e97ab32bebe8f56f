"""Where shards run, and how a scheduler elsewhere is reached."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from trunkline.specs.base import Spec

Kind = Literal["auto", "inline", "local", "cuda", "address", "kubernetes"]
KIND_WORDS = (
    "auto: the scheduler at address or in TRUNKLINE_DASK_SCHEDULER, else GPUs, else this machine's processors; inline: this process "
    "alone; local: worker processes on this machine; cuda: one worker a GPU of this machine; address: an existing Dask scheduler; "
    "kubernetes: pods that the Dask operator starts and removes again"
)
ADDRESS = re.compile(r"((tcp|tls|ws|wss|ucx)://)?[^/\s:]+:\d+")
KubernetesName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]


class TlsSpec(Spec):
    """Certificate files for a scheduler at tls://; paths on the machine that starts the run, never their contents."""

    ca: str | None = Field(
        None, min_length=1, description="path of the authority's certificate that the scheduler's is checked by"
    )
    certificate: str | None = Field(
        None, min_length=1, description="path of this side's certificate, which the scheduler asks for"
    )
    key: str | None = Field(
        None,
        min_length=1,
        description="path of the certificate's private key; not needed where the certificate's file holds it",
    )

    @property
    def files(self) -> dict[str, str]:
        """Field → path, of those that are given."""
        return {name: path for name, path in self if path is not None}

    @model_validator(mode="after")
    def _goes_together(self) -> TlsSpec:
        if self.files and not (self.ca and self.certificate):
            raise ValueError("TLS needs both files, ca and certificate (and key where the certificate's file lacks it)")
        return self


class KubernetesSpec(Spec):
    """Pods of the kind kubernetes; the Dask operator has to run in the Kubernetes cluster."""

    image: str | None = Field(None, min_length=1, description="container image with trunkline, for scheduler and workers")
    namespace: KubernetesName | None = Field(
        None, description="where pods are made; the one of your kubectl context by default"
    )
    cpus: float = Field(2.0, gt=0, description="processors of a worker's pod")
    memory: str = Field(
        "4Gi", pattern=r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|K|M|G|T)?$", description="memory of a worker's pod, such as 4Gi"
    )
    gpus: int = Field(0, ge=0, le=1, description="1: each worker's pod has an NVIDIA GPU")
    secret: KubernetesName | None = Field(
        None, description="name of a Secret whose entries become environment variables of the pods, such as AWS_ACCESS_KEY_ID"
    )
    config_map: KubernetesName | None = Field(
        None, description="name of a ConfigMap whose entries do the same, such as AWS_ENDPOINT_URL"
    )
    claim: KubernetesName | None = Field(
        None, description="name of a PersistentVolumeClaim with store or images, which the pods see at the path mount"
    )
    mount: str = Field("/data", pattern=r"^/.+", description="where the claim is seen")


class ClusterSpec(Spec):
    """Where shards run. Nothing here changes a feature."""

    kind: Kind = Field("auto", description=KIND_WORDS)
    workers: int | None = Field(
        None,
        ge=1,
        description="worker processes; the most of them where minimum is given; one a core (local) or a GPU (cuda) by default",
    )
    minimum: int | None = Field(
        None,
        ge=1,
        description="local, cuda, kubernetes: begin with so many workers and add more, up to workers, while there is work for them; a "
        "fixed number by default",
    )
    address: str | None = Field(
        None, description="scheduler's address, such as tcp://host:8786, or tls://host:8786 with the files of tls"
    )
    tls: TlsSpec = TlsSpec()
    kubernetes: KubernetesSpec = KubernetesSpec()
    patience: float | None = Field(
        None,
        ge=0,
        le=86_400,
        description="seconds to wait for a scheduler that does not answer, or that has no worker yet; by default 60, and 600 for "
        "kubernetes, where an image may have to be fetched first",
    )

    @field_validator("address")
    @classmethod
    def _looks_like_one(cls, value: str | None) -> str | None:
        if value is not None and not ADDRESS.fullmatch(value):
            raise ValueError("a scheduler's address looks like tcp://host:8786")
        return value

    @model_validator(mode="after")
    def _goes_together(self) -> ClusterSpec:
        if self.minimum and self.workers and self.minimum > self.workers:
            raise ValueError(
                f"minimum is {self.minimum} and workers, the most there may be, is {self.workers}: make minimum smaller"
            )
        if self.kind == "address" and not self.address:
            raise ValueError("kind is 'address' and address is missing: name the scheduler, such as tcp://host:8786")
        if self.kind == "kubernetes" and not (self.kubernetes.image and self.workers):
            raise ValueError(
                "kind kubernetes needs workers, how many pods, and kubernetes.image, a container image with trunkline in it"
            )
        return self

    @property
    def is_adaptive(self) -> bool:
        """Whether the number of workers follows the work, where the kind allows it."""
        return self.minimum is not None and self.kind not in ("inline", "address")

    @property
    def of_fixed_size(self) -> ClusterSpec:
        """The same with all its workers from the beginning: what a measurement wants."""
        return self.model_copy(update={"minimum": None})
