"""Settings of the connection to Milvus: flags first, then the environment, `.env`, `ichash.toml` and the defaults."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from milvus_ichash.errors import InputError, first_problem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_URI = "./milvus_ichash.db"
SETTINGS_FILE = "ichash.toml"

_CREDENTIALS = re.compile(r"://([^/]*)@")


def _table(settings_cls: type[BaseSettings]) -> dict[str, Any]:
    """Return the table [milvus] of `ichash.toml`; it is empty where there is none."""
    path = Path(SETTINGS_FILE)
    if not path.exists():
        return {}
    table = tomllib.loads(path.read_text("utf-8")).get("milvus", {})
    if not isinstance(table, dict):
        raise ValueError("'milvus' is no table")
    unknown = sorted(set(table) - set(settings_cls.model_fields))
    if unknown:
        raise ValueError(f"[milvus] has no setting '{unknown[0]}'; it has {', '.join(settings_cls.model_fields)}")
    return table


class MilvusSettings(BaseSettings):
    """The settings that it takes to reach Milvus.

    Environment and `.env`: `MILVUS_URI`, `MILVUS_TOKEN`, `MILVUS_DB_NAME`, `MILVUS_TIMEOUT`, or `ZILLIZ_...`. In
    `ichash.toml`: `uri`, `token`, `db_name`, `timeout` in the table `[milvus]`. Empty values count as not given.
    """

    model_config = SettingsConfigDict(env_prefix="MILVUS_", env_file=".env", env_ignore_empty=True, extra="ignore")

    uri: str = DEFAULT_URI
    token: SecretStr = SecretStr("")
    db_name: str = ""
    timeout: float = Field(30.0, gt=0, allow_inf_nan=False)
    """Seconds after which a call to Milvus is given up."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the places to look for settings, of which the first that has a setting wins (pydantic calls this)."""
        zilliz = EnvSettingsSource(settings_cls, env_prefix="ZILLIZ_")
        dotenv_zilliz = DotEnvSettingsSource(settings_cls, env_prefix="ZILLIZ_")
        toml = InitSettingsSource(settings_cls, _table(settings_cls))
        return init_settings, env_settings, zilliz, dotenv_settings, dotenv_zilliz, toml

    @property
    def is_lite(self) -> bool:
        """True where the address is a file: Milvus Lite, embedded in this process."""
        return "://" not in self.uri

    @property
    def address(self) -> str:
        """The address as it may be shown: without user and password."""
        return _CREDENTIALS.sub("://", self.uri)

    @property
    def secret(self) -> str:
        """The token, or else user:password out of the address."""
        in_address = _CREDENTIALS.search(self.uri)
        return self.token.get_secret_value() or (in_address.group(1) if in_address else "")

    def shown(self) -> dict[str, str]:
        """Return the settings without secrets."""
        return {
            "uri": self.address,
            "token": "(set)" if self.secret else "(none)",
            "db_name": self.db_name or "(default)",
            "timeout": f"{self.timeout:g} s",
        }


def load_settings(**flags: Any) -> MilvusSettings:
    """Return the settings from flags, environment, `.env` and `ichash.toml`.

    Args:
        flags: `uri`, `token`, `db_name`, `timeout`; those that are None do not count.

    Raises:
        InputError: names the setting that cannot be used, or that there is not.
    """
    unknown = [name for name in flags if name not in MilvusSettings.model_fields]
    if unknown:
        raise InputError(f"there is no setting '{unknown[0]}'; there are {', '.join(MilvusSettings.model_fields)}.")
    try:
        return MilvusSettings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        where, what = first_problem(error)
        raise InputError(f"setting '{where}': {what} (flag, environment, .env or {SETTINGS_FILE}).") from error
    except (ValueError, OSError) as error:
        raise InputError(f"'{SETTINGS_FILE}' cannot be used: {error}.") from error
