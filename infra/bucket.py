"""`python -m infra.bucket`: make the bucket of TRUNKLINE_STORE where it is missing. Only for an S3 store for trying out."""

from __future__ import annotations

import os

from trunkline.locations import filesystem


def main() -> None:
    """Make the bucket, once."""
    name = os.environ["TRUNKLINE_STORE"].removeprefix("s3://").split("/")[0]
    files = filesystem("s3")
    if not files.exists(name):
        files.call_s3("create_bucket", Bucket=name)


if __name__ == "__main__":
    main()
