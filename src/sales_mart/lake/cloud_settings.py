"""How Amazon's and Azure's own conventions say where a store is and who asks it.

What an environment variable says the client reads itself; here is what it does not know.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import NamedTuple

from sales_mart.errors import ConfigurationError

__all__ = ["ENVIRONMENT", "Settings", "azure_settings", "s3_settings"]

ENVIRONMENT = ("AWS_", "AZURE_")
"""What the names of environment variables begin with that say it."""
_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_OTHER_WAYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_SKIP_SIGNATURE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
"""Variables of which each says where the credentials come from, so that no profile is asked."""
_NEED_THE_CLI = ("credential_process", "role_arn", "sso_session", "sso_start_url")


class Settings(NamedTuple):
    """What a client is made with.

    Attributes:
        endpoint: Where the store is.
        options: What the client does not find in the environment itself.
        remedy: What to do where it finds no usable credentials.
    """

    endpoint: str
    options: dict[str, str]
    remedy: str


def s3_settings() -> Settings:
    """Return the settings for Amazon S3, and stores that speak its language.

    Raises:
        ConfigurationError: The profile is not there, or gives no keys.
    """
    _check_environment("AWS_")
    profile = _profile()
    region = _first("AWS_REGION", "AWS_DEFAULT_REGION") or profile.get("region") or "us-east-1"
    # Deleting many objects at once is a request that not every store knows.
    options = {"region": region, "disable_bulk_delete": "true", "conditional_put": "etag"}
    endpoint = _first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoint = endpoint or profile.get("endpoint_url")
    if endpoint:
        options["endpoint"] = _checked(endpoint, "AWS_ENDPOINT_URL_S3")
    if not _first(*_OTHER_WAYS):
        options |= {name: profile[name] for name in _KEYS if profile.get(name)}
    return Settings(
        endpoint or f"https://s3.{region}.amazonaws.com",
        options,
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile in AWS_PROFILE, or run "
        "where the account of the machine or the pod has rights.",
    )


def azure_settings() -> Settings:
    """Return the settings for Azure Blob Storage.

    Raises:
        ConfigurationError: No storage account is named.
    """
    _check_environment("AZURE_")
    # The names of obstore, then those of Azure's command line.
    account = _first("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
    if not account:
        msg = "no storage account is named for az:// addresses"
        raise ConfigurationError(msg, remedy="Set AZURE_STORAGE_ACCOUNT_NAME.")
    options = {"account_name": account}
    if key := _first("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"):
        options["account_key"] = key
    endpoint = _first("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
    if endpoint:
        options["endpoint"] = _checked(endpoint, "AZURE_STORAGE_ENDPOINT")
    return Settings(
        endpoint or f"https://{account}.blob.core.windows.net",
        options,
        "Set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, the AZURE_CLIENT_ID, "
        "AZURE_CLIENT_SECRET and AZURE_TENANT_ID of a service principal, or "
        "AZURE_USE_AZURE_CLI=true after `az login`; or run where the machine or the pod has an "
        "identity.",
    )


def _check_environment(start: str) -> None:
    """See that no variable has what a secret made of a file often has: a line end.

    Raises:
        ConfigurationError: One has. Its value is not repeated.
    """
    for name, value in os.environ.items():
        if name.startswith(start) and (value != value.strip() or not value.isprintable()):
            msg = f"{name} begins or ends with a space, or holds a line end"
            raise ConfigurationError(
                msg, remedy="Set it without that: `printf %s` writes a file without a line end."
            )


def _checked(endpoint: str, variable: str) -> str:
    """Return the address of a store, if it is one."""
    if not endpoint.startswith(("http://", "https://")):
        msg = "the address of the store begins with neither http:// nor https://"
        raise ConfigurationError(msg, remedy=f"Correct {variable}, or what else gives it.")
    return endpoint


def _first(*names: str) -> str | None:
    """Return the first of some environment variables that is not empty."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _profile() -> dict[str, str]:
    """Return what the files of Amazon's command line say, under the profile that is asked for."""
    asked = _first("AWS_PROFILE")
    name = asked or "default"
    shared = _section("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", name)
    section = name if name == "default" else f"profile {name}"
    general = _section("AWS_CONFIG_FILE", "~/.aws/config", section)
    found = {**(general or {}), **(shared or {})}
    if asked and shared is None and general is None:
        msg = "AWS_PROFILE names a profile that is in neither of Amazon's files"
        raise ConfigurationError(
            msg, remedy="`aws configure list-profiles` names those that there are."
        )
    if "aws_access_key_id" in found or _first(*_OTHER_WAYS):
        return found
    if any(each in found for each in _NEED_THE_CLI):
        msg = "the AWS profile gives no keys of its own, but a way to get some"
        raise ConfigurationError(
            msg,
            remedy='Run `eval "$(aws configure export-credentials --format env)"`, then the same '
            "command again.",
        )
    return found


def _section(variable: str, usual: str, name: str) -> dict[str, str] | None:
    """Return a section of one of Amazon's files; None when it has none of the name."""
    path = Path(os.environ.get(variable) or usual).expanduser()
    parser = configparser.ConfigParser(default_section="", interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, OSError, ValueError) as error:
        # What the parser says quotes the line.
        msg = f"{path} cannot be read as a file of Amazon's command line: {type(error).__name__}"
        raise ConfigurationError(msg, remedy="Correct it, or name another one.") from None
    return dict(parser[name]) if parser.has_section(name) else None
