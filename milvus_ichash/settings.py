"""Settings of the connection to Milvus: flags first, then the environment, `.env`, `ichash.toml` and the defaults."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError

from milvus_ichash.addresses import Address, address_of, secrets_of
from milvus_ichash.errors import InputError, first_problem
from milvus_ichash.settings_places import (
    DOTENV,
    ENVIRONMENT,
    SETTINGS_FILE,
    from_dotenv,
    from_environment,
    from_toml,
)

DEFAULT_URI = "./milvus_ichash.db"
FLAG = "flag"
DEFAULT = "default"

_WHERE = {
    FLAG: "the command line, or the call",
    ENVIRONMENT: "the environment",
    DOTENV: f"the file '{DOTENV}'",
    SETTINGS_FILE: f"the file '{SETTINGS_FILE}'",
    DEFAULT: "the defaults",
}
_PLACES = tuple(_WHERE)
"""The place that wins first."""


class MilvusSettings(BaseModel):
    """The settings that it takes to reach Milvus. `load_settings` gathers them from all places where they may stand.

    Environment and `.env`: `MILVUS_URI`, `MILVUS_TOKEN`, `MILVUS_DB_NAME`, `MILVUS_TIMEOUT`, or `ZILLIZ_...`. In
    `ichash.toml`: `uri`, `token`, `db_name`, `timeout` in the table `[milvus]`. Empty values count as not given.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    # A secret may stand in the address: only `address` is printed.
    uri: str = Field(DEFAULT_URI, repr=False)
    token: SecretStr = SecretStr("")
    db_name: str = ""
    timeout: float = Field(30.0, gt=0, allow_inf_nan=False)
    """Seconds after which a call to Milvus is given up."""

    _places: dict[str, str] = PrivateAttr(default_factory=dict)

    def place_of(self, name: str) -> str:
        """Return where a setting came from: "flag", "environment", ".env", "ichash.toml" or "default"."""
        return self._places.get(name, FLAG if name in self.model_fields_set else DEFAULT)

    @property
    def is_lite(self) -> bool:
        """True where the address is a file: Milvus Lite, embedded in this process."""
        return "://" not in self.uri

    @property
    def parts(self) -> Address:
        """The address, taken apart."""
        return address_of(self.uri)

    @property
    def address(self) -> str:
        """The address as it may be shown: without user and password, and without what else may be secret."""
        return self.parts.shown

    @property
    def credentials(self) -> str:
        """What the server is shown: the token, or user:password out of the address; may be empty.

        Where both are there, the one from the place that comes first counts; the token, where they stand in one.
        """
        token, in_address = self.token.get_secret_value(), self.parts.credentials
        address_first = _PLACES.index(self.place_of("uri")) < _PLACES.index(self.place_of("token"))
        return (in_address or token) if address_first else (token or in_address)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may repeat, the longest first."""
        return secrets_of(self.uri, self.token.get_secret_value())

    def shown(self) -> dict[str, str]:
        """Return the settings without secrets."""
        of_address = "(in the address)" if self.parts.database else "(default)"
        return {
            "uri": self.address,
            "token": "(set)" if self.credentials else "(none)",
            "db_name": self.db_name or of_address,
            "timeout": f"{self.timeout:g} s",
        }

    def check_address(self) -> None:
        """Raise InputError, which names the place of the setting, where the address is none."""
        parts = self.parts
        if parts.problem:
            place = self.place_of("uri")
            raise InputError(f"'{parts.shown}' (from {_WHERE[place]}) is no address: {parts.problem}.")

    def check_token_belongs_to_address(self) -> None:
        """Raise InputError where the token would go to an address of another place, and neither is a flag.

        Else a file in a folder that is not ours would name an address and get the token of our environment.
        """
        of_token, of_uri = self.place_of("token"), self.place_of("uri")
        is_sent = not self.is_lite and self.credentials not in ("", self.parts.credentials)
        if is_sent and of_token != of_uri and FLAG not in (of_token, of_uri):
            raise InputError(
                f"the token comes from {_WHERE[of_token]}, the address {self.address} from {_WHERE[of_uri]}, "
                "so the token is not sent there: where the two belong together, give the address with --uri, "
                "or keep both in one place; --token '' goes without a token."
            )

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.shown().items())


def load_settings(**flags: Any) -> MilvusSettings:
    """Return the settings from flags, environment, `.env` and `ichash.toml`.

    Args:
        flags: `uri`, `token`, `db_name`, `timeout`; those that are None do not count.

    Raises:
        InputError: names the setting that cannot be used, or that there is not; or a token that does not stand in
            the same place as the address of the server, where neither is a flag.
    """
    names = tuple(MilvusSettings.model_fields)
    unknown = [name for name in flags if name not in names]
    if unknown:
        raise InputError(f"there is no setting '{unknown[0]}'; there are {', '.join(names)}.")
    places = {
        FLAG: {name: value for name, value in flags.items() if value is not None},
        ENVIRONMENT: from_environment(names),
        DOTENV: from_dotenv(names),
        SETTINGS_FILE: from_toml(names),
    }
    place_of: dict[str, str] = {}
    for place, found in places.items():
        for name in found:
            place_of.setdefault(name, place)
    try:
        settings = MilvusSettings(**{name: places[place][name] for name, place in place_of.items()})
    except ValidationError as error:
        where, what = first_problem(error)
        raise InputError(f"setting '{where}', from {_WHERE[place_of[where]]}: {what}.") from error
    settings._places = place_of
    settings.check_address()
    settings.check_token_belongs_to_address()
    return settings
