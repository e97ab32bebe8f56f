"""Looking after a store: verify, gc, unlock, retry-quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from trunkline.cli import show
from trunkline.cli.app import Json, StorePath, app, err, out
from trunkline.cli.where import takes_cluster
from trunkline.clusters import Cluster
from trunkline.maintenance import gc as collecting
from trunkline.maintenance import repair as repairing
from trunkline.maintenance import retry as retrying
from trunkline.maintenance import unlock as unlocking
from trunkline.maintenance import verify as verifying
from trunkline.maintenance.findings import Severity
from trunkline.specs import ClusterSpec
from trunkline.wording import counted, in_bytes

ROUNDS = 2  # of repair: what hides behind a broken header shows in the second
SHOWN = 20

OneDataset = Annotated[str | None, typer.Option(help="Only of this dataset.")]


@app.command(
    help="Check everything a store holds: every commit record against manifest and arrays, every row accounted for. Exits with 1 where it "
    "finds something."
)
@takes_cluster
def verify(
    store: StorePath,
    where: ClusterSpec,
    dataset: OneDataset = None,
    repair: Annotated[bool, typer.Option("--repair", help="Make anew what is broken, and only that.")] = False,
    as_json: Json = False,
) -> None:
    repaired: list[dict[str, Any]] = []
    with show.progress_on(err) as progress, Cluster(where, progress) as cluster:
        found = verifying.verify(store, cluster, dataset, progress)
        for _ in range(ROUNDS if repair else 0):
            if all(finding.severity == Severity.IRREPARABLE for finding in found.findings):
                break
            done = repairing.repair(store, found, cluster, _say, progress)
            repaired += [each.summary() for each in done]
            found = verifying.verify(store, cluster, dataset, progress)
    summary = {**found.summary(), "repaired": repaired if repair else None}
    out(summary, as_json, _verified(summary))
    if found.findings:
        raise typer.Exit(1)


@app.command(
    help="List what no committed record refers to, and what is not trunkline's; with --delete remove the first, and never the second."
)
def gc(
    store: StorePath,
    delete: Annotated[bool, typer.Option("--delete", help="Really delete; without it nothing is changed.")] = False,
    grace: Annotated[
        float, typer.Option(min=0, help="Minutes for which new objects are left alone: a run may be making them.")
    ] = 60,
    as_json: Json = False,
) -> None:
    with show.progress_on(err) as progress:
        found = collecting.collect(store, delete=delete, grace=60 * grace, progress=progress)
    summary = found.summary()
    out(summary, as_json, _collected(summary))


@app.command(help="Show who holds each feature set, and release leases that nobody uses any more.")
def unlock(
    store: StorePath,
    dataset: OneDataset = None,
    force: Annotated[
        bool, typer.Option("--force", help="Release leases in use too: their runs end, what they committed is kept.")
    ] = False,
    as_json: Json = False,
) -> None:
    found = [held.summary() for held in unlocking.unlock(store, dataset, force=force)]
    columns = ("feature set", "lease", "host", "process", "beat", "state", "")
    lines = [
        (
            each["feature_set"],
            each["number"] or "–",
            each["host"] or "–",
            each["pid"] or "–",
            each["beat"],
            each["state"],
            "released now" if each["unlocked"] else "left as it is" if each["refused"] else "",
        )
        for each in found
    ]
    out({"leases": found}, as_json, show.table("Leases", columns, lines))
    if any(each["refused"] for each in found):
        err.print(
            "A lease is in use, or damaged. End its run first; or --force ends the lease, and the run stops by itself.",
            markup=False,
        )
        raise typer.Exit(2)


@app.command(
    "retry-quarantine",
    help="Give quarantined images new rows, which the next `trunkline run` extracts; images that are gone stay where they are.",
)
@takes_cluster
def retry_quarantine(
    store: StorePath,
    where: ClusterSpec,
    dataset: OneDataset = None,
    reason: Annotated[list[str] | None, typer.Option(help="Only images with this reason; may be given several times.")] = None,
    run: Annotated[bool, typer.Option("--run", help="Extract at once, by each feature set's own recipe.")] = False,
    as_json: Json = False,
) -> None:
    with show.progress_on(err) as progress, Cluster(where, progress) as cluster:
        done = retrying.retry(store, dataset, tuple(reason or ()), cluster if run else None, progress)
    summary = {"retried": [each.summary() for each in done]}
    out(summary, as_json, Group(*(_retried(each.summary(), run) for each in done)))


def _say(words: str) -> None:
    err.print(show.plain(words), markup=False, highlight=False, soft_wrap=True)


def _verified(summary: Mapping[str, Any]) -> Group:
    drawn: list[Any] = [show.facts(each["feature_set"], _facts(each)) for each in summary["feature_sets"]]
    findings = [(each["severity"], each["what"], each["where"], each["detail"], each["advice"]) for each in summary["findings"]]
    if findings:
        drawn.append(show.table("Not as it was written", ("how bad", "what", "where", "detail", "what to do"), findings))
    else:
        drawn.append(Text("Nothing is damaged."))
    if summary["repaired"]:
        lines = [
            (
                each["feature_set"],
                len(each["again"]),
                len(each["kept"]),
                len(each["left"]),
                len(each["deleted"]),
                ", ".join(row["id"] for row in each["lost"]) or "none",
            )
            for each in summary["repaired"]
        ]
        columns = ("feature set", "shards extracted again", "kept in part", "left", "derived deleted", "rows not restored")
        drawn.append(show.table("Repaired", columns, lines))
    orphans = summary["orphans"]
    if orphans:
        size = in_bytes(sum(each["bytes"] for each in orphans))
        drawn.append(
            Text(f"{counted(len(orphans), 'orphan')} ({size}). That is no damage: `trunkline gc` lists and removes it.")
        )
    return Group(*drawn)


def _facts(each: Mapping[str, Any]) -> list[tuple[str, object]]:
    counts = each["counts"]
    if counts is None:
        return [
            ("shards", each["shards"]),
            ("rows", "not accounted for: the manifest cannot be read"),
            ("findings", each["findings"]),
        ]
    live = counts["ok"] + counts["quarantined"] + counts["pending"] + each["unknown"]
    rows = f"{counts['ok']:,} ok, {counts['quarantined']:,} quarantined, {counts['pending']:,} pending"
    rows += f", {each['unknown']:,} unknown" if each["unknown"] else ""
    return [
        ("shards checked", each["shards"]),
        ("live rows", f"{live:,}: {rows}"),
        ("other rows", f"{counts['removed']:,} removed, {counts['void']:,} void"),
        ("findings", each["findings"]),
    ]


def _collected(summary: Mapping[str, Any]) -> Group:
    orphans, unknown = summary["orphans"], summary["unknown"]
    lines = [(each["kind"], in_bytes(each["bytes"]), each["where"], each["why"]) for each in orphans]
    drawn: list[Any] = []
    if lines:
        drawn.append(show.table("Nothing refers to", ("what", "size", "where", "why"), lines))
    if summary["deleting"]:
        drawn.append(Text(f"Deleted {counted(summary['deleted'], 'object')}, {in_bytes(summary['freed'])}."))
    else:
        more = f" `trunkline gc STORE --delete` removes {'it' if len(orphans) == 1 else 'them'}." if orphans else ""
        drawn.append(Text(f"{counted(len(orphans), 'object')}, {in_bytes(summary['bytes'])}. Nothing was deleted.{more}"))
    if summary["young"]:
        drawn.append(Text(f"{summary['young']:,} more are new: something may be making them (--grace)."))
    for where, why in summary["passed_over"].items():
        drawn.append(Text(show.plain(f"Passed over: {where}. {why} If it is dead, `trunkline unlock` says so.")))
    if unknown:
        drawn.append(show.table("Unknown, left alone", ("where",), [(where,) for where in _first(unknown)]))
    return Group(*drawn)


def _retried(each: Mapping[str, Any], extracted: bool) -> Group:
    rows: list[tuple[str, object]] = [
        ("new rows", f"{len(each['retried']):,}" + (f" ({show.in_words(each['reasons'])})" if each["reasons"] else "")),
        ("stay in quarantine", f"{len(each['stay']):,}"),
    ]
    if each["shared"]:
        rows.append(("of other recipes too", f"{each['shared']:,} with features there, extracted again as well"))
    rows += [
        (f"extracted, {where.rsplit('/', 1)[1]}", f"{counts['ok']:,} ok, {counts['quarantined']:,} quarantined")
        for where, counts in each["extracted"].items()
    ]
    drawn: list[Any] = [show.facts(each["dataset"], rows)]
    if each["stay"]:
        lines = [(stay["row"], stay["id"], stay["reason"]) for stay in each["stay"][:SHOWN]]
        drawn.append(show.table("The source cannot give", ("row", "image", "reason"), lines))
    if each["batch"] is not None and not extracted:
        drawn.append(Text("`trunkline run` or `trunkline extract` extracts the new rows."))
    return Group(*drawn)


def _first(names: Sequence[str]) -> list[str]:
    """The first few, and how many more."""
    return [*names[:SHOWN], *([f"and {len(names) - SHOWN:,} more (--json lists all)"] if len(names) > SHOWN else [])]
