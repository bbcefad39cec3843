from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipsim.config.json_source import MAX_BYTES, parse, plain, read

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values, st.sampled_from([None, 0, 3]))
def test_reads_what_json_writes(value: object, indent: int | None) -> None:
    source = parse(json.dumps(value, indent=indent), "x.json")
    assert source.problems == []
    assert source.value == value
    assert type(source.value) is type(value)


@given(st.text(alphabet='{}[]",:0123456789.eE+-truefalsn \n\\/#', max_size=40))
def test_never_raises_and_never_accepts_what_json_refuses(text: str) -> None:
    source = parse(text, "x.json")
    try:
        expected = json.loads(text)
    except ValueError:
        assert source.problems
    else:
        assert source.problems or source.value == expected


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "empty"),
        ('{"a": 1,\n "a": 2}', 2, "duplicate key; the first is on line 1"),
        ('{\n"a": NaN}', 2, "NaN is not JSON"),
        ('{"a":\n -Infinity}', 2, "-Infinity is not JSON"),
        ("[1,\n1e400]", 2, "too large; give a finite"),
        ("[" + "9" * 5000 + "]", 1, "too large"),
        ('{"a": 1,\n}', 1, "a comma before the closing '}'"),
        ('{"a": 1\n"b": 2}', 1, "a comma is missing"),
        ('{"a": True}', 1, "True is not JSON; write true"),
        ('{"a": None}', 1, "write null"),
        ("{'a': 1}", 1, "expected a key in double quotes"),
        ('{"a": ring}', 1, "got 'ring'; strings stand in double quotes"),
        ('{"a" 1}', 1, "expected a ':' after the key"),
        ('{\n"a": [1, 2', 2, "'[' of line 2 is not closed"),
        ('{"a": "b', 1, "unterminated string"),
        ('{"a": 1} x', 1, "expected the end of the file"),
        ('// hi\n{"a": 1}', 1, "JSON has no comments"),
        ('{"a": "\\ud800"}', 1, "surrogate"),
        ("[" * 100_000, 1, "nested more than"),
        ('{"a": 01}', 1, "not valid JSON"),
    ],
)
def test_what_is_wrong_has_its_line(text: str, line: int, message: str) -> None:
    problems = parse(text, "x.json").problems
    assert any(at == line and message in said for at, _, said in problems), problems


def test_goes_on_after_a_mistake() -> None:
    source = parse('{"a": [1, 2,],\n "a": NaN,\n "b": 1e999 "c": True}', "x.json")
    assert [line for line, _, _ in source.problems] == [1, 2, 2, 3, 3, 3]
    assert source.readable


def test_lines_of_keys_and_items() -> None:
    source = parse('{\n "a": [\n  1,\n  {"b":\n 2}]}', "x.json")
    assert source.lines == {(): 1, ("a",): 2, ("a", 0): 3, ("a", 1): 4, ("a", 1, "b"): 4}


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert read(path, "x").problems == []
    path.write_bytes(b'{"a":\n"\xff"}')
    assert read(path, "x").problems[0][0] == 2
    path.write_bytes(b" " * (MAX_BYTES + 1))
    assert "larger than" in read(path, "x").problems[0][2]
    assert "cannot read" in read(tmp_path, "x").problems[0][2]


def test_python_values() -> None:
    problems: list[object] = []
    value = plain({"a": (1, Path("b")), 3: 1, "c": float("nan"), "d": int, "e": 2**70}, (), problems)  # type: ignore[arg-type]
    assert value["a"] == [1, "b"]
    assert [path for path, _ in problems] == [(), ("c",), ("d",), ("e",)]  # type: ignore[misc,has-type]
