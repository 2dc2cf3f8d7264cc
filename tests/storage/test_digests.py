"""The spelling that keys are hashed from is a contract: these bytes and digests never change."""

import pytest

from storage.digests import canonical_json, is_digest, pass_key, sha256_hex
from storage.records import KeyParts


def test_keys_are_sorted_and_nothing_is_spaced_or_escaped() -> None:
    value = {"b": [1, 2.5, None, True], "a": {"é": "scène", "Z": ""}}
    assert canonical_json(value) == '{"a":{"Z":"","é":"scène"},"b":[1,2.5,null,true]}'.encode()


@pytest.mark.parametrize(("one", "other"), [
    (1, 1.0), (0.0, -0.0), (1e22, 10**22), ((1, 2), [1.0, 2.0]), ({"a": {"b": 3.0}}, {"a": {"b": 3}})])
def test_numbers_that_compare_equal_are_written_equally(one: object, other: object) -> None:
    assert canonical_json(one) == canonical_json(other)


@pytest.mark.parametrize(("one", "other"), [
    (1, True), (0, False), (1, "1"), (None, "null"), (0.1, 0.1000000001), ("é", "e\u0301"), ({}, []),
    (2**53 + 1, float(2**53))])
def test_different_values_are_written_differently(one: object, other: object) -> None:
    assert canonical_json(one) != canonical_json(other)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")], {1: "a"}, {"a": {None: 1}}])
def test_what_json_cannot_tell_apart_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"not JSON compliant|is not text"):
        canonical_json(value)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object()])
def test_what_json_has_no_word_for_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        canonical_json({"a": value})


@pytest.mark.parametrize(("text", "expected"), [
    ("a" * 64, True), ("A" * 64, False), ("a" * 63, False), ("a" * 65, False), ("g" * 64, False),
    ("a" * 64 + "\n", False), ("../" + "a" * 61, False)])
def test_a_digest_is_64_lower_case_hex_digits(text: str, expected: bool) -> None:
    assert is_digest(text) is expected


def test_the_key_of_a_pass_stays_what_it_is() -> None:
    parts = KeyParts(pass_name="mix", pass_version=2, params={"light_mix_scale": 0.7, "blur": 3.0},
                     inputs={"placed": sha256_hex(b"placed"), "scene": sha256_hex(b"scene")}, weights={})
    spelled = ('{"inputs":{"placed":"' + sha256_hex(b"placed") + '","scene":"' + sha256_hex(b"scene")
               + '"},"params":{"blur":3,"light_mix_scale":0.7},"pass":"mix","version":2,"weights":{}}')
    assert parts.key == sha256_hex(spelled.encode())
    assert parts.key == "9687f164ee9a66d7be5dd23aeb02a45660caf129f4df0b88d5296ed27cf69808"
    assert parts.key == pass_key({"version": 2, "weights": {}, "pass": "mix",
                                  "params": {"blur": 3, "light_mix_scale": 0.7},
                                  "inputs": dict(reversed(parts.inputs.items()))})


def test_every_part_counts_and_is_listed_flat() -> None:
    def parts(**changes: object) -> KeyParts:
        return KeyParts(**{"pass_name": "mix", "pass_version": 1, "params": {"scale": 1}, "inputs": {"photo": "a"},
                           "weights": {"net": "b"}, **changes})  # type: ignore[arg-type]

    changed = [parts(pass_name="place"), parts(pass_version=2), parts(params={"scale": 2}), parts(params={}),
               parts(inputs={"scene": "a"}), parts(inputs={"photo": "b"}), parts(weights={"net": "a"}),
               parts(inputs={"net": "b"}, weights={"photo": "a"})]
    assert len({one.key for one in [parts(), *changed]}) == 9
    assert parts().parts() == {"pass": "mix", "version": 1, "params.scale": 1, "inputs.photo": "a", "weights.net": "b"}
