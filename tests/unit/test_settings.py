"""What the settings refuse before a process starts."""

from pathlib import Path

import pytest

from runtime.settings import PREFIX, SECRETS, SETTINGS, SettingError, load_settings

GOOD = {"LAUREL_DATABASE_URL": "postgresql://a@b/c", "LAUREL_SECRET_KEY": "0123456789abcdef0123456789abcdef"}
PRODUCTION = GOOD | {"LAUREL_ENVIRONMENT": "production"}
ISSUER = '[{"issuer": "https://id.example", "jwks_url": "%s://id.example/keys"}]'


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("LAUREL_OPERATOR_KEY", "short"),
        ("LAUREL_OPERATOR_KEY", "a" * 40),
        ("LAUREL_JWT_ISSUERS", ISSUER % "http"),
        ("LAUREL_SECRET_KEY", "a" * 40),
        ("LAUREL_WEBHOOK_ALLOW_CIDRS", "10.0.0.0/8"),
    ],
)
def test_production_refuses_what_development_takes(variable: str, text: str) -> None:
    load_settings(GOOD | {variable: text})
    with pytest.raises(SettingError, match=variable):
        load_settings(PRODUCTION | {variable: text})


def test_production_takes_strong_ones() -> None:
    given = {"LAUREL_OPERATOR_KEY": "0123456789abcdef0123456789abcdef", "LAUREL_JWT_ISSUERS": ISSUER % "https"}
    assert load_settings(PRODUCTION | given).jwt_issuers[0].jwks_url == "https://id.example/keys"


@pytest.mark.parametrize("text", ["*", "proxy", "10.0.0.1/8", "10.0.0.0/33"])
def test_a_trusted_proxy_is_an_address_or_a_network(text: str) -> None:
    with pytest.raises(SettingError, match="LAUREL_TRUSTED_PROXIES"):
        load_settings(GOOD | {"LAUREL_TRUSTED_PROXIES": text})
    assert load_settings(GOOD | {"LAUREL_TRUSTED_PROXIES": "10.0.0.0/8, ::1"}).trusted_proxies == ("10.0.0.0/8", "::1")


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_every_secret_can_stand_in_a_file(name: str, tmp_path: Path) -> None:
    given = GOOD | {PREFIX + name: "redis://secret/0" if name == "REDIS_URL" else "fedcba9876543210fedcba9876543210"}
    kept = tmp_path / "secret"
    kept.write_text(given[PREFIX + name] + "\n")
    by_file = {variable: text for variable, text in given.items() if variable != PREFIX + name} | {f"{PREFIX}{name}_FILE": str(kept)}
    assert load_settings(by_file) == load_settings(given)
    with pytest.raises(SettingError, match="are both set"):
        load_settings(given | by_file)
    kept.unlink()
    with pytest.raises(SettingError, match=f"{PREFIX}{name}_FILE"):
        load_settings(by_file)


def test_what_is_no_secret_is_read_from_no_file(tmp_path: Path) -> None:
    named = {f"{PREFIX}{setting.name}_FILE": "/nowhere" for setting in SETTINGS if setting.name not in SECRETS}
    assert load_settings(GOOD | named) == load_settings(GOOD)
