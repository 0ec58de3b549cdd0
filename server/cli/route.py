"""`driftlock route`."""

import click

from collector.routing import Decision, ResourceRouter, RoutingRules
from collector.routing.file import RoutingError, read_rules
from driftlock.engine.event import Signal
from driftlock.storage.slugs import slug
from server.cli.options import load_settings
from server.terminal import visible


@click.command()
@click.argument("attributes", nargs=-1, metavar="KEY=VALUE...")
@click.option("--signal", type=click.Choice([signal.value for signal in Signal]), help="Only this one. Default: all.")
@click.option("--file", "path", type=click.Path(), help="Routing file. Default: DRIFTLOCK_ROUTING_FILE.")
def route(attributes: tuple[str, ...], signal: str | None, path: str | None) -> None:
    """Show to which stream a resource with these attributes goes, and why: which rule, or which attributes.

    Needs no server. Example: driftlock route service.name=cart k8s.pod.name=cart-1 deployment.environment.name=prod
    """
    router = ResourceRouter(_rules(path))
    resource = dict(_pair(text) for text in attributes)
    for each in [Signal(signal)] if signal else list(Signal):
        _show(router.decide(each, resource))


def _rules(path: str | None) -> RoutingRules | None:
    if path is None:
        return load_settings().routing
    try:
        return read_rules(path)
    except RoutingError as error:
        raise click.BadParameter(f"{visible(path)}: {visible(str(error))}", param_hint="--file") from None


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.BadParameter(f"{visible(text)!r} is not KEY=VALUE, such as service.name=cart", param_hint="KEY=VALUE")
    return key, value


def _show(decision: Decision) -> None:
    key = decision.route.key
    click.echo(f"{visible(key.text)}  ({visible(slug(key))})")
    click.echo(f"  decided by   {visible(decision.rule) or 'no rule'}")
    if decision.stream_from:
        _line("stream", key.service, decision.stream_from)
    _line("service", decision.route.service, _origins(decision.namespace_from, decision.service_from))
    _line("environment", decision.route.environment, decision.environment_from)
    _line("instance", decision.route.instance, decision.instance_from)
    if decision.route.historical:
        click.echo("  historical   a replay of the past")
    if decision.route.nameless:
        click.echo("  warning      nothing says what the service is called: set service.name, or write a rule")


def _origins(*attributes: str) -> str:
    return ", ".join(dict.fromkeys(filter(None, attributes)))


def _line(part: str, value: str, origin: str) -> None:
    if value:
        click.echo(f"  {part:<12} {visible(value)}" + (f"  ({visible(origin)})" if origin else ""))
