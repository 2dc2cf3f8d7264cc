"""The `backlot` command: parses, calls, prints. Nothing here knows how a picture is made, and nothing loads torch."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows import explain, mask_command
from flows.pipelines import PIPELINES, Pipeline, pipeline
from flows.prefect_home import own_prefect
from flows.report import job_report
from flows.run_command import BAD_INPUT, run
from flows.weights_command import weights_app
from storage.lineage import Lineage
from storage.settings import Settings
from tasks import upkeep
from tasks.classify import error_facts
from tasks.services import services

app = typer.Typer(
    name="backlot", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Regenerate product catalog pictures: cut out, invent a scene, relight, upscale; each pass cached, recorded.")
run_app = typer.Typer(no_args_is_help=True, help="Run one job in this process.")
db_app = typer.Typer(no_args_is_help=True, help="Look after the database.")
app.add_typer(run_app, name="run")
app.add_typer(mask_command.app, name="mask")
app.add_typer(db_app, name="db")
app.add_typer(weights_app, name="weights")

JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead")]


def main() -> None:
    """Entry point: known errors end in one line and exit code 2; anything else is a bug and keeps its traceback."""
    try:
        app()
    except Exception as error:
        if not hasattr(error, "remedy"):
            raise
        if "--json" in sys.argv:
            typer.echo(json.dumps({"error": error_facts(error)}, indent=2))
        else:
            sys.stderr.write(f"{error}\n")
        raise SystemExit(BAD_INPUT) from None


def _console() -> Console:
    """As wide as the terminal; in a pipe wide enough that nothing is cut."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def _lineage() -> Lineage:
    return services().lineage


def _run_command(of: Pipeline) -> Any:
    """`backlot run NAME` with one option a field, made from the document's own model."""
    def command(document: Path | None, profile: str | None, refresh: list[str], as_json: bool,
                **fields: str | None) -> None:
        texts = {name: text for name, text in fields.items() if text is not None}
        raise typer.Exit(run(of, document, texts, profile=profile, refresh=tuple(refresh), as_json=as_json))

    def parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)

    names: dict[Any, str] = {int: "INTEGER", float: "NUMBER", bool: "true|false"}
    parameters = [
        parameter("document", Annotated[Path | None, typer.Argument(
            metavar="[DOCUMENT]", help="A .yaml or .json file with the fields below")], None),
        parameter("profile", Annotated[str | None, typer.Option(
            help="Which weights to use: tiny (toy weights, nothing downloaded) or sdxl")], None),
        parameter("refresh", Annotated[list[str], typer.Option(
            help="Make this pass anew although a result exists, by name or place (sdxl is both first and second); "
                 "may be given several times")], []),
        parameter("as_json", AsJson, False),
    ]
    for name, field in of.document.model_fields.items():
        default = "" if field.is_required() or field.default in (None, "") else f" [default: {field.default}]"
        needed = " [required]" if field.is_required() else ""
        option = typer.Option(
            *dict.fromkeys((f"--{name.replace('_', '-')}", f"--{name}")), metavar=names.get(field.annotation, "TEXT"),
            help=f"{field.description}{default}{needed}", rich_help_panel="Fields of the document")
        parameters.append(parameter(name, Annotated[str | None, option], None))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__doc__ = f"{of.title}."
    return command


for _pipeline in PIPELINES.values():
    run_app.command(_pipeline.name)(_run_command(_pipeline))


@app.command()
def schema(name: Annotated[str, typer.Argument(metavar="PIPELINE", help=", ".join(PIPELINES))]) -> None:
    """Print the JSON schema of a pipeline's job document."""
    typer.echo(json.dumps(pipeline(name).document.model_json_schema(), indent=2))


@app.command()
def show(job: JobId, as_json: AsJson = False) -> None:
    """Show a job: what was asked, what was decided, each pass, what was delivered."""
    report = job_report(_lineage(), job)
    typer.echo(json.dumps(report, indent=2)) if as_json else explain.show(_console(), report)


@app.command()
def jobs(limit: Annotated[int, typer.Option(help="How many, newest first", min=1)] = 20) -> None:
    """List recent jobs."""
    explain.jobs(_console(), _lineage().jobs(limit))


@app.command()
def lineage(of: Annotated[str, typer.Argument(metavar="JOB|URI", help="A job's id, a delivered file or its uri")],
            as_json: AsJson = False) -> None:
    """Show what a picture was made from, back to its photo, as a tree."""
    tree = explain.ancestry(_lineage(), of)
    typer.echo(json.dumps(explain.tree_facts(tree), indent=2)) if as_json else explain.tree(_console(), tree)


@app.command()
def why(job: JobId, as_json: AsJson = False) -> None:
    """Say of each pass why it was reused or executed: which part of its key changed, from what to what."""
    answers = _lineage().why(job)
    if as_json:
        typer.echo(json.dumps({"job_id": job, "passes": [explain.why_facts(answer) for answer in answers]}, indent=2))
    else:
        explain.why(_console(), answers)


@app.command()
def sheet(job: Annotated[list[str], typer.Argument(metavar="JOB…", help="One row a job")],
          out: Annotated[Path, typer.Option(help="Where to write the picture (.png)")] = Path("sheet.png")) -> None:
    """Draw a contact sheet: source, cut-out, maps, first, second, light, final, captioned."""
    from tasks.sheet import contact_sheet  # decodes pictures: only this command needs it

    contact_sheet(services(), job, out)
    typer.echo(out)


@app.command()
def replay(job: JobId,
           at: Annotated[list[str] | None, typer.Option(
               help="Only this place (first, mix); may be given several times")] = None,
           keep: Annotated[Path | None, typer.Option(
               help="An empty or new folder for pictures that differ: recorded, replayed, difference")] = None,
           anyway: Annotated[bool, typer.Option("--anyway", help="Also what another version of a pass made")] = False,
           as_json: AsJson = False) -> None:
    """Make a job's pictures again and compare; writes nothing else. Exit code: 0 all bit-equal, 1 not, 2 bad input."""
    with own_prefect(services().settings.home):
        from flows.replay_command import replay as make_again  # loads prefect, whose surroundings are now ours

        raise typer.Exit(make_again(services(), _console(), job, at=at or (), anyway=anyway, keep_in=keep,
                                    as_json=as_json))


@app.command()
def verify(repair: Annotated[bool, typer.Option("--repair", help="Heal what can be; deletes no last copy")] = False,
           quick: Annotated[bool, typer.Option("--quick", help="Compare sizes only, read no bytes")] = False,
           as_json: AsJson = False) -> None:
    """Check that database, stored pictures and deliveries agree. Exit code: 0 clean, 1 faults found, 2 bad input."""
    from flows.verify_command import verify as check  # hashes and repairs: only this command needs it

    raise typer.Exit(check(services(), _console(), repair=repair, read_data=not quick, as_json=as_json))


@app.command()
def doctor(profile: Annotated[str | None, typer.Option(help="Whose weights: tiny, sdxl or sdxl-union")] = None,
           full: Annotated[bool, typer.Option("--full", help="Hash the weights too, about 1 s a GB")] = False,
           as_json: AsJson = False) -> None:
    """Look at everything a run rests on and say what to mend. Exit code: 0 if nothing failed, else 1."""
    from flows.doctor_command import doctor as look  # asks Prefect and S3: only this command needs them

    raise typer.Exit(look(_console(), profile=profile, full=full, as_json=as_json))


@db_app.command("upgrade")
def db_upgrade() -> None:
    """Bring the database's tables to this version, under a lock."""
    typer.echo(f"The database is at version {upkeep.upgrade_database(Settings())}.")
