"""Recurring runs on a Kubeflow Pipelines server, as a file tells them.

    [daily-tracking]                     the run's name: one of each
    pipeline = "sea_ice_tracking"
    cron = "0 0 4 * * *"                 second, minute, hour, day, month, day of the week; UTC
    [daily-tracking.arguments]
    passes = ["s3://icegraph/passes"]

A recurring run carries the SHA-256 of what it was made from, so that telling the same file again changes nothing.
"""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from icegraph.errors import InputError
from icegraph.submit import check_arguments, connected

_MARK = "made by icegraph schedule from sha256 "
_PAGE = 100

Change = Literal["created", "replaced", "unchanged"]


class Schedule(BaseModel):
    """A recurring run as the file tells it.

    Attributes:
        pipeline: Name of a compiled pipeline, or its file.
        cron: When, UTC: six fields, the first for seconds.
        arguments: The pipeline's parameters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pipeline: str
    cron: str = Field(pattern=r"^\S+( \S+){5}$")
    arguments: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Recurring:
    """A recurring run that is on a server.

    Args:
        name: Its name.
        run_id: Its id.
        cron: When it runs; empty where it has an interval instead.
        enabled: Whether it runs at all.
        created: When it was made.
        digest: SHA-256 of what it was made from; empty where others made it.
    """

    name: str
    run_id: str
    cron: str
    enabled: bool
    created: datetime | None
    digest: str


def read_schedules(file: Path) -> dict[str, Schedule]:
    """The recurring runs of a file, by name.

    Raises:
        InputError: It cannot be read, or tells something else.
    """
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
        return {name: Schedule.model_validate(one) for name, one in said.items()}
    except OSError as error:
        raise InputError(file, "there is no such file", "name a file of schedules") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(file, f"is no TOML ({error})", "mend it") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(
            file, f"{field}: {first['msg'].lower()}", "give each run a pipeline, a cron of six fields and arguments"
        ) from error


def apply(schedules: dict[str, Schedule], packages: Path, endpoint: str, experiment: str) -> dict[str, Change]:
    """Make the recurring runs of a server be as told; those of other names are left alone.

    Args:
        schedules: What is told, by name.
        packages: Folder of the compiled pipelines.
        endpoint: URL of the KFP API.
        experiment: Name of the KFP experiment; made where it does not exist.

    Returns:
        What became of each.

    Raises:
        InputError: There is no such pipeline, or it has no such parameter.
        SubmitError: The server does not answer, or refuses.
    """
    files = {name: _package(one, packages) for name, one in schedules.items()}
    done: dict[str, Change] = {}
    with connected(endpoint) as client:
        place = client.create_experiment(experiment).experiment_id
        there = list(_recurring(client, place))
        for name, one in schedules.items():
            digest = _digest(one, files[name])
            mine = [run for run in there if run.name == name]
            same = [run for run in mine if run.digest == digest and run.enabled]
            if not same:
                client.create_recurring_run(
                    place,
                    name,
                    description=f"{_MARK}{digest}",
                    cron_expression=one.cron,
                    max_concurrency=1,
                    no_catchup=True,
                    params=one.arguments,
                    pipeline_package_path=str(files[name]),
                )
            for run in mine:
                if run not in same[:1]:
                    client.delete_recurring_run(run.run_id)
            done[name] = "unchanged" if same else "replaced" if mine else "created"
    return done


def recurring_runs(endpoint: str, experiment: str) -> list[Recurring]:
    """The recurring runs of an experiment, by name.

    Raises:
        SubmitError: The server does not answer, or refuses.
    """
    with connected(endpoint) as client:
        return sorted(_recurring(client, client.create_experiment(experiment).experiment_id), key=lambda run: run.name)


def remove(name: str, endpoint: str, experiment: str) -> None:
    """Remove the recurring run of a name; the runs that it made stay.

    Raises:
        InputError: There is none.
        SubmitError: The server does not answer, or refuses.
    """
    with connected(endpoint) as client:
        found = [run for run in _recurring(client, client.create_experiment(experiment).experiment_id) if run.name == name]
        for run in found:
            client.delete_recurring_run(run.run_id)
    if not found:
        raise InputError(name, "there is no recurring run of that name", "see `icegraph schedule list`")


def _package(schedule: Schedule, packages: Path) -> Path:
    """The compiled pipeline of a schedule, which has the parameters that are given."""
    given = Path(schedule.pipeline)
    file = given if given.suffix in (".yaml", ".yml") else packages / f"{schedule.pipeline}.yaml"
    check_arguments(file, schedule.arguments)
    return file


def _digest(schedule: Schedule, package: Path) -> str:
    said = json.dumps([schedule.model_dump(mode="json"), package.read_text(encoding="utf-8")], sort_keys=True)
    return sha256(said.encode()).hexdigest()


def _recurring(client: Any, experiment_id: str) -> Iterator[Recurring]:
    token = ""
    while True:
        page = client.list_recurring_runs(page_token=token, page_size=_PAGE, experiment_id=experiment_id)
        for run in page.recurring_runs or []:
            cron = run.trigger.cron_schedule.cron if run.trigger and run.trigger.cron_schedule else ""
            digest = (run.description or "").partition(_MARK)[2]
            yield Recurring(run.display_name, run.recurring_run_id, cron, run.mode == "ENABLE", run.created_at, digest)
        token = page.next_page_token
        if not token:
            return
