"""Hands the driver's settings for S3 and other stores to workers, whose environment is that of their own node.

They travel in the call that sets a worker up. Ray's `runtime_env` would write them, keys included, into logs of every
node and show them in the dashboard.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

# Variables that mean the same on every machine.
_GENERAL = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "AWS_MAX_ATTEMPTS",
    "AWS_NO_SIGN_REQUEST",
    "AWS_REQUEST_PAYER",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_KMS_KEY_ID",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "GOOGLE_CLOUD_PROJECT",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "STORAGE_EMULATOR_HOST",
)
# AWS keys, which belong together: a token of another pair of keys makes both worthless.
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
_PROFILES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
_FILES = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "GOOGLE_APPLICATION_CREDENTIALS")

NO_CREDENTIALS = "no usable AWS credentials"  # what an error message says where there are none


def store_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the driver that say how stores are reached; never shown, since some are secrets."""
    return {name: environment[name] for name in (*_GENERAL, *_KEYS, *_PROFILES, *_FILES) if environment.get(name)}


def adopt(settings: Mapping[str, str]) -> None:
    """Set a driver's settings in the environment of this process, a worker, as far as they mean something here.

    A profile or a file that this machine lacks leaves the worker with its machine's own credentials.
    """
    names = set(settings) - {name for name in _FILES if name in settings and not Path(settings[name]).exists()}
    if settings.get("AWS_ACCESS_KEY_ID"):
        for name in _KEYS:
            os.environ.pop(name, None)
    os.environ.update({name: settings[name] for name in names - set(_PROFILES)})
    profiles = names & set(_PROFILES)
    if profiles:
        known = _known_profiles()
        os.environ.update({name: settings[name] for name in profiles if settings[name] in known})


def _known_profiles() -> list[str]:
    """Return the profiles of this machine's files."""
    import botocore.session  # only where a profile is asked for: it takes half a second

    found: list[str] = botocore.session.Session().available_profiles
    return found
