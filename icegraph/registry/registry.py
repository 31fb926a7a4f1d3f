"""The registry: runs, versions, aliases and their trail, kept in MLflow.

A registry is a server (`http://…`, with Postgres and S3 behind it) or a folder:

    <folder>/
      mlflow.db     runs, versions, aliases, trails: `mlflow ui --backend-store-uri sqlite:///<folder>/mlflow.db` shows them
      artifacts/    what the runs left: model folders, curves
      <name>/       the models in use, which need no MLflow to be read (`icegraph.registry.in_use`)

What was registered is found again by its content: a version carries its SHA-256, and whatever is brought from here is held against it.
"""

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from icegraph.errors import InputError, ModelError, RegistryError
from icegraph.places import is_address
from icegraph.progress import Progress, silent
from icegraph.registry.content import DIGITS, check_model, model_sha256
from icegraph.registry.in_use import bring, checked_name
from icegraph.registry.record import Record, draw_curves, read_record
from icegraph.registry.signature import describe
from icegraph.registry.trail import ALIASES, CANDIDATE, PIN, REGISTER, Step, Trail, read_trail
from icegraph.store import code_version, sha256

DATABASE = "mlflow.db"
TRAINING, EVALUATION, SEARCH = "training", "evaluation", "search"  # experiments
_MODEL = "model"  # folder of the model among a run's artifacts
_TRAIL = ".trail"
_ENTRY = "icegraph.entry"
_SHA256 = "icegraph.sha256"
_PINNED = "evaluation-set"
_BATCH = 100  # parameters a request
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@dataclass(frozen=True)
class Version:
    """A registered version.

    Args:
        name: Its name.
        number: Counts the versions of the name, from 1.
        sha256: Its content.
        aliases: What it is: `candidate`, `challenger`, `champion`, or nothing.
        passed: Whether it passed the gate; None where it was not held against it.
        figures: What it was judged by.
        registered: When, UTC.
        code_version: By which code.
        run_id: The run that made it.
        card: Its model card.
    """

    name: str
    number: int
    sha256: str
    aliases: tuple[str, ...]
    passed: bool | None
    figures: Mapping[str, float]
    registered: datetime
    code_version: str
    run_id: str
    card: str

    @property
    def digits(self) -> str:
        """The digits of its SHA-256 that name its folder."""
        return self.sha256[:DIGITS]


class Registry:
    """The registry at a place.

    Args:
        place: A folder, made where there is none, or the `http(s)://…` of an MLflow server.

    Raises:
        RegistryError: It does not answer, or is no registry.
    """

    def __init__(self, place: str | Path) -> None:
        if is_address(place) and not str(place).startswith(("http://", "https://")):
            raise InputError(str(place), "is not a registry", "name a folder, or the http(s)://… of an MLflow server")
        self.place = str(place)
        self._root = None if is_address(place) else Path(place).resolve()
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        with self._speaking():
            if self._root is not None:
                self._root.mkdir(parents=True, exist_ok=True)
                _follow(self._root)
            from mlflow import MlflowClient

            self._client: Any = MlflowClient(self.place if self._root is None else f"sqlite:///{self._root / DATABASE}")

    # What is there

    def names(self) -> list[str]:
        """The names that versions are registered under, sorted."""
        with self._speaking():
            found = [one.name for one in self._client.search_registered_models(max_results=1000)]
        return sorted(name for name in found if not name.endswith(_TRAIL))

    def versions(self, name: str) -> list[Version]:
        """The versions of a name, the newest first; none where the name is not known."""
        with self._speaking():
            found = self._client.search_model_versions(f"name='{checked_name(name)}'", max_results=1000)
        aliases = self.trail(name).aliases
        return sorted((_version(one, aliases) for one in found), key=lambda version: -version.number)

    def version(self, name: str, which: str) -> Version:
        """A version by its number, by the first digits of its SHA-256, or by its alias.

        Raises:
            RegistryError: There is none, or several begin with these digits.
        """
        versions = self.versions(name)
        exact = [one for one in versions if which == str(one.number) or which in one.aliases]
        found = exact or [one for one in versions if len(which) >= 4 and one.sha256.startswith(which)]
        if len(found) != 1:
            there = ", ".join(f"{one.number} ({one.digits}{''.join(f', {alias}' for alias in one.aliases)})" for one in versions)
            problem = f"{len(found)} versions are {which}" if found else f"has no version {which}"
            raise RegistryError(name, problem, f"it has {there}" if there else "nothing is registered under that name")
        return found[0]

    def champion(self, name: str) -> Version | None:
        """The version in use, or None."""
        number = self.trail(name).aliases.get(ALIASES[-1])
        return None if number is None else self.version(name, str(number))

    def trail(self, name: str) -> Trail:
        """What happened under a name.

        Raises:
            RegistryError: The trail was altered.
        """
        with self._speaking():
            found = self._client.search_model_versions(f"name='{checked_name(name)}{_TRAIL}'", max_results=10_000)
        return read_trail(name, [one.tags[_ENTRY] for one in sorted(found, key=lambda one: int(one.version))])

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """Runs of an experiment, the newest first: `run_id`, `name`, `status`, `started`, `parameters`, `figures`, `tags`."""
        with self._speaking():
            known = self._client.get_experiment_by_name(experiment)
            found = self._client.search_runs([known.experiment_id], max_results=1000) if known else []
        return [
            {
                "run_id": run.info.run_id,
                "name": run.info.run_name,
                "status": run.info.status,
                "started": datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds"),
                "parameters": dict(run.data.params),
                "figures": dict(run.data.metrics),
                "tags": {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")},
            }
            for run in found
        ]

    # What is put there

    def track(
        self,
        model: Path,
        name: str,
        figures: Mapping[str, float] | None = None,
        experiment: str = TRAINING,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Keep the training that made a model as a run; once for the same model, however often it is told.

        Args:
            model: Model folder.
            name: What the model is called.
            figures: Figures that it was judged by afterwards, name → number.
            experiment: Which of MLflow's experiments it belongs to.
            tags: What else the run says.

        Returns:
            The run's id.

        Raises:
            ModelError: The folder is no model.
            RegistryError: The registry fails; what was told so far is kept, and completed by telling it again.
        """
        record, digest = read_record(model), model_sha256(model)
        with self._speaking():
            run_id = self._run(experiment, f"{name} {digest[:DIGITS]}", digest)
            self._log(
                run_id,
                record,
                figures or {},
                {**(tags or {}), "icegraph.name": name} | {"icegraph.code_version": record.code_version or code_version()},
            )
            run = self._client.get_run(run_id)
            if run.info.status != "FINISHED":
                with tempfile.TemporaryDirectory() as work:
                    folder = Path(work, _MODEL)
                    # A copy, for MLflow's description of the model must not become a part of it.
                    copied = bring(model, Path(work), "m")
                    copied.rename(folder)
                    describe(folder, run_id)
                    Path(work, "curves.svg").write_text(draw_curves(record))
                    Path(work, "lineage.json").write_text(json.dumps(dict(record.parents), indent=1, sort_keys=True) + "\n")
                    self._client.log_artifacts(run_id, str(folder), _MODEL)
                    for name in ("curves.svg", "lineage.json"):
                        self._client.log_artifact(run_id, str(Path(work, name)))
                self._client.set_terminated(run_id)
        return run_id

    def register(self, model: Path, name: str, figures: Mapping[str, float], gate: Mapping[str, Any] | None = None) -> Version:
        """Register a model as a version and make it the candidate; the same model under the same name stays the version that it is.

        Args:
            model: Model folder.
            name: The name.
            figures: What it was judged by, name → number.
            gate: What `gate.json` holds, where it was held against the gate.

        Raises:
            ModelError: The folder is no model.
            RegistryError: The registry fails.
            InputError: The name cannot be used.
        """
        digest = model_sha256(model)
        run_id = self.track(model, checked_name(name), figures)
        found = [one for one in self.versions(name) if one.sha256 == digest]
        if not found:
            tags = {
                _SHA256: digest,
                "icegraph.figures": json.dumps(dict(sorted(figures.items()))),
                "icegraph.gate": json.dumps(gate),
                "icegraph.code_version": code_version(),
            }
            card = model / "README.md"
            with self._speaking():
                self._named(name)
                text = card.read_text(encoding="utf-8") if card.is_file() else ""
                self._client.create_model_version(name, f"runs:/{run_id}/{_MODEL}", run_id, tags=tags, description=text)
            found = [one for one in self.versions(name) if one.sha256 == digest][-1:]  # of two writers at once the first
        version = found[-1]
        if not any(step.version == version.number for step in self.trail(name).steps):
            self.append(Step(REGISTER, name, version.number, digest, CANDIDATE, figures=dict(figures)))
        return self.version(name, str(version.number))

    def append(self, step: Step, on: Trail | None = None) -> None:
        """Add a step to its name's trail, then give the aliases to the versions that the trail tells.

        Args:
            step: The step.
            on: The trail it was decided on: it only counts if nothing happened since. Default: it counts, whatever happened.

        Raises:
            RegistryError: Another step was taken meanwhile, or the registry fails.
        """
        while True:
            trail = on or self.trail(step.name)
            text = step.bound(trail.head)
            with self._speaking():
                self._named(f"{step.name}{_TRAIL}")
                self._client.create_model_version(f"{step.name}{_TRAIL}", f"icegraph:/{step.name}", tags={_ENTRY: text})
            now = self.trail(step.name)
            if step in now.steps[len(trail.steps) :][:1]:
                break
            if on is not None:
                other = now.steps[len(trail.steps)]
                problem = f"meanwhile {other.by} took the step {other.kind} of version {other.version}, so that yours does not count"
                raise RegistryError(step.name, problem, f"look with `icegraph models show {step.name}`, then decide anew")
        self.settle(step.name)

    def settle(self, name: str) -> dict[str, int]:
        """Give the aliases of a name to the versions that its trail tells; gives them back."""
        aliases = None
        while aliases != (told := self.trail(name).aliases):  # another's step may come between
            aliases = told
            if name == _PINNED:
                break
            with self._speaking():
                there = {alias: int(number) for alias, number in self._client.get_registered_model(name).aliases.items()}
                for alias in ALIASES:
                    if alias in aliases and there.get(alias) != aliases[alias]:
                        self._client.set_registered_model_alias(name, alias, str(aliases[alias]))
                    elif alias in there and alias not in aliases:
                        self._client.delete_registered_model_alias(name, alias)
        return told

    def fetch(self, version: Version, folder: Path) -> Path:
        """Bring a version to a folder of models in use, held against its SHA-256; gives its folder.

        Raises:
            ModelError: The registry's files are not those that were registered.
            RegistryError: The registry fails.
        """
        there = folder / version.name / version.digits
        if there.is_dir():
            check_model(there, version.sha256)
            return there
        with tempfile.TemporaryDirectory() as work:
            with self._speaking():
                brought = Path(self._client.download_artifacts(version.run_id, _MODEL, work))
            if model_sha256(brought) != version.sha256:
                run = f"artifacts of run {version.run_id}"
                raise ModelError(run, "they are not those that were registered", "bring them back from a backup")
            return bring(brought, folder, version.name)

    # The pinned evaluation set

    def pin(self, folder: Path) -> str:
        """Make a folder (`icegraph.trial`) the evaluation set that promotions are decided on; gives its SHA-256."""
        digest = sha256(folder)
        pinned = self.trail(_PINNED).steps
        if pinned and pinned[-1].sha256 == digest:
            return digest
        with self._speaking():
            run_id = self._run(EVALUATION, f"{_PINNED} {digest[:DIGITS]}", digest)
            if self._client.get_run(run_id).info.status != "FINISHED":
                self._client.log_artifacts(run_id, str(folder), _PINNED)
                self._client.set_terminated(run_id)
        self.append(Step(PIN, _PINNED, 0, digest))
        return digest

    def pinned(self) -> str | None:
        """SHA-256 of the pinned evaluation set, or None."""
        steps = self.trail(_PINNED).steps
        return steps[-1].sha256 if steps else None

    def fetch_pinned(self, folder: Path) -> Path:
        """Bring the pinned evaluation set.

        Raises:
            RegistryError: There is none, or its files are not those that were pinned.
        """
        digest = self.pinned()
        if digest is None:
            raise RegistryError(self.place, "no evaluation set is pinned", "pin one with `icegraph models pin`, or train with the pipeline")
        folder.mkdir(parents=True, exist_ok=True)
        with self._speaking():
            brought = Path(self._client.download_artifacts(self._run(EVALUATION, "", digest), _PINNED, str(folder)))
        if sha256(brought) != digest:
            raise RegistryError(self.place, "the pinned evaluation set is not what was pinned", "restore the registry's backup")
        return brought

    # Whether all is as it should be

    def verify(self, in_use: Path | None = None, progress: Progress = silent) -> list[str]:
        """What is wrong: versions whose bytes changed, aliases that the trail does not tell, trails that were altered; empty for nothing.

        Args:
            in_use: A folder of models in use, whose champions are held against the registry's.
            progress: Is told what is being looked at.
        """
        from icegraph.registry.in_use import CHAMPION as POINTER
        from icegraph.registry.in_use import resolve

        wrong: list[str] = []
        for name in self.names():
            try:
                aliases = self.trail(name).aliases
                with self._speaking():
                    there = {alias: int(number) for alias, number in self._client.get_registered_model(name).aliases.items()}
            except RegistryError as error:
                wrong.append(str(error))
                continue
            if there != aliases:
                wrong.append(
                    f"{name}: its aliases are {_shown(there)}, its trail tells {_shown(aliases)}; `icegraph models deploy` mends it."
                )
            versions = self.versions(name)
            for number, version in enumerate(versions):
                progress(f"verify: {name} {version.number}", number / len(versions))
                with tempfile.TemporaryDirectory() as work:
                    try:
                        self.fetch(version, Path(work))
                    except (ModelError, RegistryError, OSError) as error:
                        wrong.append(f"{name} {version.number}: {error}")
            champion = next((version for version in versions if ALIASES[-1] in version.aliases), None)
            if in_use is not None and (in_use / name / POINTER).exists():
                try:
                    digest = model_sha256(resolve(in_use, name))
                    if champion is None or digest != champion.sha256:
                        wrong.append(f"{in_use / name}: {digest[:DIGITS]} is in use there, and is not the champion; promote again.")
                except ModelError as error:
                    wrong.append(str(error))
        return wrong

    def _named(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        known = self._client.get_experiment_by_name(name)
        if known is None:
            place = (self._root / "artifacts" / name).as_uri() if self._root else None
            try:
                return str(self._client.create_experiment(name, artifact_location=place))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                known = self._client.get_experiment_by_name(name)
        return str(known.experiment_id)

    def _run(self, experiment: str, title: str, digest: str) -> str:
        """The run of a content, begun where there is none."""
        where = self._experiment(experiment)
        found = self._client.search_runs([where], f"tags.`{_SHA256}` = '{digest}'", order_by=["attributes.start_time ASC"], max_results=1)
        return str(found[0].info.run_id if found else self._client.create_run(where, tags={_SHA256: digest}, run_name=title).info.run_id)

    def _log(self, run_id: str, record: Record, figures: Mapping[str, float], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        known = self._client.get_run(run_id).data
        parameters = [Param(key, value) for key, value in record.parameters.items() if key not in known.params]
        # The time of a step is not known; the same for all, so that telling it again adds nothing.
        curves = [Metric(name, value, 0, step) for name, points in record.curves.items() for step, value in points]
        ends = [Metric(name, value, 0, 0) for name, value in {**record.figures, **figures}.items()]
        for start in range(0, len(parameters), _BATCH):
            self._client.log_batch(run_id, params=parameters[start : start + _BATCH])
        new = [*(curves if not known.metrics else []), *(one for one in ends if known.metrics.get(one.key) != one.value)]
        for start in range(0, len(new), 10 * _BATCH):
            self._client.log_batch(run_id, metrics=new[start : start + 10 * _BATCH])
        self._client.log_batch(run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Make a RegistryError, with one sentence, of what MLflow raises."""
        try:
            yield
        except Exception as error:
            if isinstance(error, ModelError | InputError | RegistryError | KeyboardInterrupt):
                raise
            modules = {type(one).__module__.partition(".")[0] for one in (error, error.__cause__, error.__context__) if one is not None}
            if not modules & {"mlflow", "requests", "urllib3", "sqlalchemy", "sqlite3", "alembic"}:
                raise
            lines = str(error).splitlines() or [type(error).__name__]
            problem = "does not answer" if modules & {"requests", "urllib3"} or "API request" in lines[0] else f"fails: {lines[0][:200]}"
            raise RegistryError(
                self.place, problem.rstrip("."), "see that it runs and is reached, then run the same command again"
            ) from error


def registered_in(place: str | Path) -> bool:
    """Whether a place is a registry that there is."""
    return str(place).startswith(("http://", "https://")) or Path(place, DATABASE).is_file()


def _follow(root: Path) -> None:
    """Tell a registry's database where it lies: MLflow keeps artifacts by absolute path, and a folder may be copied or moved."""
    if not (root / DATABASE).is_file():
        return
    with closing(sqlite3.connect(root / DATABASE, timeout=20)) as database, database:
        here = (root / "artifacts").as_uri()
        for name, was in database.execute("SELECT name, artifact_location FROM experiments WHERE name != 'Default'").fetchall():
            now = f"{here}/{name}"
            if was != now:
                database.execute("UPDATE experiments SET artifact_location = ? WHERE name = ?", (now, name))
                database.execute(
                    "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE substr(artifact_uri, 1, ?) = ?",
                    (now, len(was) + 1, len(was) + 1, f"{was}/"),
                )


def _version(one: Any, aliases: Mapping[str, int]) -> Version:
    tags = one.tags
    gate = json.loads(tags.get("icegraph.gate", "null"))
    return Version(
        name=one.name,
        number=int(one.version),
        sha256=tags.get(_SHA256, ""),
        aliases=tuple(alias for alias in ALIASES if aliases.get(alias) == int(one.version)),
        passed=None if gate is None else bool(gate["passed"]),
        figures=json.loads(tags.get("icegraph.figures", "{}")),
        registered=datetime.fromtimestamp(one.creation_timestamp / 1000, UTC),
        code_version=tags.get("icegraph.code_version", ""),
        run_id=one.run_id,
        card=one.description or "",
    )


def _shown(aliases: Mapping[str, int]) -> str:
    return ", ".join(f"{alias} {number}" for alias, number in sorted(aliases.items())) or "none"
