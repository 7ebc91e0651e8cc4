"""Where Milvus is: flag > environment > `.env` > `ichash.toml` > default, in that order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from milvus_ichash.errors import InputError

DEFAULT_URI = "./milvus_ichash.db"
SETTINGS_FILE = "ichash.toml"


def _names(name: str) -> AliasChoices:
    return AliasChoices(name, f"milvus_{name}", f"zilliz_{name}")


class MilvusSettings(BaseSettings):
    """How to reach Milvus. `MILVUS_URI`, `MILVUS_TOKEN`, `MILVUS_DB_NAME`, `MILVUS_TIMEOUT`, or `ZILLIZ_...`."""

    model_config = SettingsConfigDict(env_file=".env", toml_file=SETTINGS_FILE, extra="ignore", populate_by_name=True)

    uri: str = Field(DEFAULT_URI, validation_alias=_names("uri"))
    token: SecretStr = Field(SecretStr(""), validation_alias=_names("token"))
    db_name: str = Field("", validation_alias=_names("db_name"))
    timeout: float = Field(30.0, gt=0, validation_alias=_names("timeout"))
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
        return init_settings, env_settings, dotenv_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def is_lite(self) -> bool:
        """True where the address is a file: Milvus Lite, embedded in this process."""
        return "://" not in self.uri

    def shown(self) -> dict[str, str]:
        """The settings without secrets."""
        return {
            "uri": self.uri,
            "token": "(set)" if self.token.get_secret_value() else "(none)",
            "db_name": self.db_name or "(default)",
            "timeout": f"{self.timeout:g} s",
        }


def load_settings(**flags: Any) -> MilvusSettings:
    """Settings from everywhere; flags that are None do not count.

    Raises:
        InputError: names the setting that cannot be used.
    """
    try:
        return MilvusSettings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"setting '{where}': {first['msg']} (flag, environment, .env or {SETTINGS_FILE}).") from error
    except ValueError as error:
        raise InputError(f"'{Path(SETTINGS_FILE)}' cannot be read as TOML: {error}.") from error
