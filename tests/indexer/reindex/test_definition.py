"""What a new index takes over from the old one."""

import pytest

from saferank.errors import ConfigurationError
from saferank.indexer.reindex.definition import copied_settings, parse_definition


def test_settings_of_one_index_only_are_left_out() -> None:
    settings = {
        "uuid": "u",
        "creation_date": "1",
        "provided_name": "old",
        "version": {"created": "1"},
        "blocks": {"write": "true"},
        "verified_read_only": "true",
        "number_of_shards": "3",
        "routing": {"allocation": {"initial_recovery": {"_id": "x"}, "include": {"tier": "hot"}}},
        "analysis": {"analyzer": {"own": {"type": "custom"}}},
    }
    assert copied_settings(settings) == {
        "number_of_shards": "3",
        "routing": {"allocation": {"include": {"tier": "hot"}}},
        "analysis": {"analyzer": {"own": {"type": "custom"}}},
    }
    assert settings["blocks"] == {"write": "true"}


@pytest.mark.parametrize("value", [[], "x", {"properties": {}}, {"mappings": {}, "aliases": {}}])
def test_a_definition_that_says_something_else_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"new\.json: must be a JSON object"):
        parse_definition(value, "new.json")
