"""What the settings refuse before a process starts."""

import pytest

from runtime.settings import SettingError, load_settings

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
