"""Registered pytrees in a text: what is read is what their classes give."""

from __future__ import annotations

import json

import pytest

from brainstate_graph import GraphError, from_json, graphdef, to_json
from tests.graph.data.museum import ALLOW, Table
from tests.tables import each


def alter_data(row):
    row["data"] = {"tuple": ["b"]}


def alter_kind_of_data(row):
    row["data"] = 3


def alter_keys(row):
    row["edges"].reverse()


def alter_type_of_key(row):
    row["edges"][1][0] = True


def alter_count(row):
    del row["edges"][0]


@each("alter", [alter_data, alter_kind_of_data, alter_keys, alter_type_of_key, alter_count])
def test_what_its_class_does_not_give_is_refused(alter):
    text = to_json(graphdef(Table(b=[1.0, Table()], a=[2.0])))
    data = json.loads(text)
    assert from_json(text, allow=ALLOW) is not None
    alter(next(row for row in data["rows"] if row.get("pytree", "").endswith("Table") and len(row["edges"]) == 2))
    with pytest.raises(GraphError):
        from_json(json.dumps(data), allow=ALLOW)
