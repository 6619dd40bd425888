"""Writes a pooler's configuration."""


def quoted(value):
    value = str(value)
    if value and not any(c in value for c in " '="):
        return value
    return "'" + value.replace("'", "''") + "'"


def pairs(values):
    """A dict as `key=value key=value`; a string as it is."""
    if isinstance(values, str):
        return values
    return " ".join(f"{key}={quoted(value)}" for key, value in values.items())


def render(databases, options, users=None, peers=None):
    lines = ["[databases]"]
    lines += [f"{name} = {pairs(values)}" for name, values in databases.items()]
    if users:
        lines.append("[users]")
        lines += [f"{name} = {pairs(values)}" for name, values in users.items()]
    if peers:
        lines.append("[peers]")
        lines += [f"{name} = {pairs(values)}" for name, values in peers.items()]
    lines.append("[pgbouncer]")
    lines += [f"{key} = {value}" for key, value in options.items()]
    return "\n".join(lines) + "\n"


def render_userlist(passwords):
    def field(value):
        return '"' + value.replace('"', '""') + '"'
    return "".join(f"{field(name)} {field(secret)}\n" for name, secret in passwords.items())
