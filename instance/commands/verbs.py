"""`stockyard`'s verbs put together."""

from __future__ import annotations

import typer

from instance.commands import config, data, keys, mock, modules, traces, verify
from instance.version import VERSION

application = typer.Typer(
    name="stockyard",
    help="One Stockyard instance: an LLM proxy with traces, costs and a hash-chained ledger.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@application.command(
    help="Serve the instance until SIGTERM or Ctrl-C. See `stockyard serve --help`.",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def serve(context: typer.Context) -> None:
    from instance.serve_command import serve_command

    raise typer.Exit(serve_command(context.args))


@application.command(help="Print the version.")
def version() -> None:
    print(VERSION)


application.command(name="verify", help=verify.HELP)(verify.verify)
application.add_typer(traces.application, name="traces")
application.add_typer(keys.application, name="keys")
application.add_typer(modules.application, name="modules")
application.add_typer(config.application, name="config")
application.command(name="mock", help=mock.HELP)(mock.mock)
application.command(name="backup", help=data.BACKUP_HELP)(data.backup)
application.command(name="export", help=data.EXPORT_HELP)(data.export)
application.command(name="restore", help=data.RESTORE_HELP)(data.restore)
application.command(name="doctor", help=data.DOCTOR_HELP)(data.doctor)
