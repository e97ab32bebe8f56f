"""Compare: two runs by their records, and one page that shows both."""

from __future__ import annotations

from trunkline.comparing.differences import Comparison, compare
from trunkline.comparing.records import RunRecord
from trunkline.errors import CorruptStore, SpecError, StoreError, did_you_mean
from trunkline.locations import Location
from trunkline.store.feature_store import FeatureStore

RECORD = "metrics.json"
MOST_BYTES = 16 * 2**20
NAMED = 5


def compare_runs(first: str, second: str, store: str | None = None, html: str | None = None) -> Comparison:
    """Two runs side by side.

    Parameters
    ----------
    first, second : str
        A run's id, its folder `runs/<id>` or its `metrics.json`, as a path or URL.
    store : str, optional
        The store that ids are of.
    html : str, optional
        Where to write a page that shows the comparison, a path or URL.

    Raises
    ------
    SpecError : an id without a store.
    StoreError : no such run, or no store.
    CorruptStore : a record that is not one of a run.
    """
    found = compare(load_run(first, store), load_run(second, store))
    if html is not None:
        from trunkline.report.comparison import render

        Location.of(html).write(render(found).encode())
    return found


def load_run(name: str, store: str | None = None) -> RunRecord:
    """The record of a run. Raises as `compare_runs`."""
    place = _place(name, store)
    try:
        if place.size() > MOST_BYTES:
            raise CorruptStore(
                f"{place} has more than {MOST_BYTES:,} bytes: it is not the record of a run. Delete it, and run again."
            )
        return RunRecord.of_json(place.read())
    except FileNotFoundError as error:
        raise _no_such_run(name, place) from error
    except (ValueError, KeyError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CorruptStore(f"{place} is not the record of a run: {what}. `trunkline run` writes one for each run.") from error


def _place(name: str, store: str | None) -> Location:
    """Where the record lies."""
    if "/" in name:
        place = Location.of(name)
        return place if place.name.endswith(".json") else place / RECORD
    if store is not None:
        runs = FeatureStore.open(Location.of(store)).runs
        return runs / name / RECORD
    place = Location.of(name)
    if place.name.endswith(".json") or (place / RECORD).exists():
        return place if place.name.endswith(".json") else place / RECORD
    raise SpecError(f"Of which store is the run {name!r}? Give --store STORE, or the path of its folder, STORE/runs/{name}.")


def _no_such_run(name: str, place: Location) -> StoreError:
    folder = Location(place.uri.rsplit("/", 2)[0])
    known = [run for run in folder.names() if (folder / run / RECORD).exists()]
    asked = place.uri.rsplit("/", 2)[1] if place.name == RECORD else name
    last = ", ".join(known[-NAMED:]) or "none"
    return StoreError(
        f"There is no run {name!r}: {place} does not exist.{did_you_mean(asked, known)} The last runs there: {last}."
    )
