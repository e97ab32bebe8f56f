"""`python -m infra.bucket`: make the bucket of TRUNKLINE_STORE where it is missing. Only for an S3 store for trying out.

Its reports can be read by a browser that has no keys, as the UI links to them; nothing else can.
"""

from __future__ import annotations

import json
import os

from trunkline.locations import filesystem


def main() -> None:
    """Make the bucket, once."""
    name = os.environ["TRUNKLINE_STORE"].removeprefix("s3://").split("/")[0]
    files = filesystem("s3")
    if not files.exists(name):
        files.call_s3("create_bucket", Bucket=name)
    files.call_s3("put_bucket_policy", Bucket=name, Policy=json.dumps(reports_for_all(name)))


def reports_for_all(bucket: str) -> dict[str, object]:
    """A bucket policy that lets everybody get the reports of runs."""
    reports = f"arn:aws:s3:::{bucket}/*/runs/*/report.html"
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": reports}
    return {"Version": "2012-10-17", "Statement": [statement]}


if __name__ == "__main__":
    main()
