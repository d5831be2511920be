"""Migrations and declared tables must agree, from an empty database on."""

from runtime import schema


def test_migrations_make_the_declared_tables(empty_database_url: str) -> None:
    schema.upgrade(empty_database_url)
    schema.check(empty_database_url)
    present, newest = schema.revisions(empty_database_url)
    assert present == newest


def test_migrating_twice_changes_nothing(postgres_url: str) -> None:
    schema.upgrade(postgres_url)
    schema.check(postgres_url)
