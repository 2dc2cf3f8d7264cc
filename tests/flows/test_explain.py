"""Lineage in words, tables and trees, on values made by hand."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from flows import explain
from storage.digests import sha256_hex
from storage.lineage import Change, Node, PassRow, SourceRow, Why
from storage.records import Artifact, Job

MARKUP = "a [draft] of [/x] and [bold]tea[/bold] :coffee:"
"""Text that a user may write and rich would take for its own; "[/x]" closes nothing, which rich refuses."""


def said(draw: Callable[[Console], None]) -> str:
    """What is printed, each run of blanks as one."""
    out = io.StringIO()
    draw(Console(file=out, width=160))
    return "\n".join(" ".join(line.split()) for line in out.getvalue().splitlines())


def why(disposition: Any = "executed", *changes: Change, **fields: Any) -> Why:
    return Why(**{"at": "mix", "position": 9, "pass_name": "mix", "disposition": disposition, "reason": "new",
                  "made_by_job": "job-2", "nearest_job": "job-1" if changes else None, "changes": changes, **fields})


def change(part: str, before: Any, after: Any) -> Change:
    return Change(part=part, before=before, after=after)


def artifact(text: str) -> Artifact:
    return Artifact(digest=sha256_hex(text.encode()), media_type="image/png", bytes=9, width=64, height=48)


def made(at: str, **fields: Any) -> PassRow:
    return PassRow(**{"at": at, "position": 1, "pass_name": at, "disposition": "executed", "reason": "new",
                      "key": sha256_hex(f"key of {at}".encode()), "generation": 1, "exec_id": f"exec-{at}",
                      "made_by_job": "job-1", "seconds": 1.5, "model_calls": 4, "device": "cpu", "dtype": "float32",
                      **fields})


def photo(uri: str = "s3://in/mug.jpg") -> Node:
    source = SourceRow(uri=uri, version="9-1", size=9, mtime=1.5, source_digest=sha256_hex(b"the file"),
                       reader="decoder-1", artifact=artifact("photo"), observed_at=1)
    return Node(role="photo", artifact=artifact("photo"), source=source)


def mixed(uri: str = "s3://in/mug.jpg") -> Node:
    """Mix reads second and relight; relight reads second too, which reads the photo's cut-out."""
    cut = Node(role="product", artifact=artifact("cut"), made_by=made("cut_out"), inputs={"photo": photo(uri)})
    second = Node(role="scene", artifact=artifact("second"), inputs={"product": cut},
                  made_by=made("second", params={"prompt": "on a table", "seed": 7, "note": "n" * 90}))
    relight = Node(role="light", artifact=artifact("relight"), inputs={"scene": second},
                   made_by=made("relight", disposition="reused", made_by_job="job-0",
                                weights={"iclight": sha256_hex(b"weights")}))
    return Node(role="final", artifact=artifact("mix"), inputs={"scene": second, "light": relight},
                made_by=made("mix", params={"light_mix_scale": 0.7}))


def job(job_id: str = "job-1", **fields: Any) -> Job:
    return Job(**{"job_id": job_id, "pipeline": "omni-bg", "profile": "tiny", "requested": {}, "resolved": {},
                  "schema_version": 1, "state": "completed", "created_at": 1_790_000_000, **fields})


def ended_pass(at: str, **fields: Any) -> dict[str, Any]:
    return {"at": at, "pass": at, "disposition": "executed", "reason": "new", "notes": [], "seconds": 2.345,
            "model_calls": 4, "key": "ab" * 32, "made_by": "job-1", "outputs": {}, **fields}


def report(**fields: Any) -> dict[str, Any]:
    return {"job_id": "job-1", "pipeline": "omni-bg", "profile": "tiny", "state": "completed", "outputs": [],
            "requested": {}, "resolved": {}, "sources": [], "passes": [], "judgements": [],
            "error": None, **fields}


@pytest.mark.parametrize(("answer", "words"), [
    (why("skipped", reason="upscale is off"), "upscale is off"),
    (why("reused", made_by_job="job-1"), "nothing changed: made by job-1"),
    (why(), "no earlier result of this pass"),
    (why(nearest_job="job-1", reason="made anew: refresh"), "made anew: refresh"),
    (why("executed", change("params.light_mix_scale", 0.5, 0.7)),
     "only light_mix_scale changed, 0.5 -> 0.7 (against job-1)"),
    (why("executed", change("params.seed", 7, 8), change("params.steps", 20, 30)),
     "seed changed, 7 -> 8; steps changed, 20 -> 30 (against job-1)"),
    (why("executed", change("params.mask", None, "soft")), "only mask changed, none -> soft (against job-1)"),
    (why("executed", change("inputs.photo", "a" * 64, "b" * 64)), "only the input photo changed (against job-1)"),
    (why("executed", change("inputs.depth", None, "b" * 64)), "only the input depth is new (against job-1)"),
    (why("executed", change("inputs.depth", "a" * 64, None)), "only the input depth is gone (against job-1)"),
    (why("executed", change("weights.unet", "a" * 64, "b" * 64)),
     "only the weights unet changed, aaaaaaaaaaaa -> bbbbbbbbbbbb (against job-1)"),
    (why("executed", change("version", 1, 2)), "only the pass's version changed, 1 -> 2 (against job-1)"),
], ids=["skipped", "reused", "the first ever", "the same key made anew", "one parameter", "two parameters",
        "a parameter that was not there", "another input", "a new input", "an input less", "other weights",
        "another version"])
def test_the_reason_of_a_pass_is_a_sentence(answer: Why, words: str) -> None:
    assert explain.why_words(answer) == words


def test_a_long_prompt_is_cut_and_one_that_fits_is_not() -> None:
    fits, longer = "x" * 60, "y" * 61
    assert explain.why_words(why("executed", change("params.prompt", fits, longer))) == (
        f"only prompt changed, {fits} -> {'y' * 59}… (against job-1)")


def test_a_digest_is_cut_to_12_digits_and_other_text_of_64_letters_is_not_taken_for_one() -> None:
    words = explain.why_words(why("executed", change("params.lora", "0f" * 32, "zz" * 32)))
    assert words == f"only lora changed, 0f0f0f0f0f0f -> {'z' * 59}… (against job-1)"


def test_the_reasons_are_printed_a_line_a_pass() -> None:
    answers = [why("reused", at="first", made_by_job="job-1"), why("executed", change("params.seed", 7, 8))]
    printed = said(lambda console: explain.why(console, answers)).splitlines()
    assert printed[-2:] == ["first reused nothing changed: made by job-1",
                            "mix executed only seed changed, 7 -> 8 (against job-1)"]


def test_the_reasons_as_facts_carry_the_words_and_are_json() -> None:
    facts = json.loads(json.dumps(explain.why_facts(why("executed", change("params.seed", 7, 8)))))
    assert facts["words"] == "only seed changed, 7 -> 8 (against job-1)"
    assert facts["changes"] == [{"part": "params.seed", "before": 7, "after": 8}]
    assert (facts["at"], facts["nearest_job"]) == ("mix", "job-1")


def test_the_tree_draws_a_picture_that_two_passes_read_once_and_points_to_it_after() -> None:
    lines = said(lambda console: explain.tree(console, mixed())).splitlines()
    assert [line for line in lines if "by second" in line and "(above)" not in line] == [
        line for line in lines if "by second" in line][:1]
    assert len([line for line in lines if "by second" in line]) == 2
    assert len([line for line in lines if "by cut_out" in line]) == 1
    assert len([line for line in lines if "read from s3://in/mug.jpg" in line]) == 1


def test_the_tree_says_who_made_each_picture_and_with_what() -> None:
    printed = said(lambda console: explain.tree(console, mixed()))
    assert printed.splitlines()[0] == f"final {artifact('mix').digest[:12]} by mix, executed light_mix_scale=0.7"
    assert f"light {artifact('relight').digest[:12]} by relight, reused from job-0" in printed
    assert "seed=7" in printed
    assert f"note={'n' * 59}…" in printed
    assert "on a table" not in printed  # prompts would fill the tree


def test_where_a_mask_was_set_no_way_of_matting_is_shown() -> None:
    matted = Node(role="product", artifact=artifact("cut"), made_by=made("cut_out", params={"backend": "classical"}),
                  inputs={"photo": photo()})
    mask = Node(role="mask", artifact=artifact("mask"))
    masked = Node(role="product", artifact=matted.artifact, made_by=matted.made_by,
                  inputs={"photo": photo(), "mask": mask})
    assert "backend=classical" in said(lambda console: explain.tree(console, matted))
    printed = said(lambda console: explain.tree(console, masked))
    assert "backend" not in printed
    assert f"mask {artifact('mask').digest[:12]} set by hand" in printed


@pytest.mark.parametrize(("versions", "words"), [
    ((2,), "set by hand, version 2"), ((1, 3), "set by hand, versions 1, 3"), ((), "set by hand")])
def test_a_mask_is_told_by_its_version(versions: tuple[int, ...], words: str) -> None:
    mask = Node(role="mask", artifact=artifact("mask"), versions=versions)
    assert said(lambda console: explain.tree(console, mask)) == f"mask {artifact('mask').digest[:12]} {words}"
    assert explain.tree_facts(mask).get("versions", []) == list(versions)


def test_the_tree_of_a_picture_that_the_job_does_not_know_is_that_picture() -> None:
    node = Node(role="photo", artifact=artifact("photo"))
    assert said(lambda console: explain.tree(console, node)) == f"photo {artifact('photo').digest[:12]}"


def test_the_tree_as_facts_is_json_and_holds_keys_parameters_weights_and_the_source() -> None:
    facts = json.loads(json.dumps(explain.tree_facts(mixed())))
    assert facts["digest"] == artifact("mix").digest
    assert (facts["width"], facts["height"]) == (64, 48)
    assert facts["made_by"]["key"] == sha256_hex(b"key of mix")
    assert facts["made_by"]["params"] == {"light_mix_scale": 0.7}
    scene, light = facts["inputs"]
    assert scene["made_by"]["params"]["prompt"] == "on a table"  # whole, unlike in what is drawn
    assert light["made_by"]["weights"] == {"iclight": sha256_hex(b"weights")}
    assert (light["made_by"]["disposition"], light["made_by"]["job"]) == ("reused", "job-0")
    source = scene["inputs"][0]["inputs"][0]
    assert source["source"] == {"uri": "s3://in/mug.jpg", "version": "9-1", "digest": sha256_hex(b"the file")}
    assert "made_by" not in source


def test_a_report_shows_decisions_passes_and_pictures() -> None:
    decided = {"field": "seed", "requested": None, "resolved": 7, "why": "drawn, as none was asked for"}
    printed = said(lambda console: explain.show(console, report(
        sources=[{"uri": "s3://in/a.jpg", "version": "1", "digest": "d" * 64, "notes": ["it is CMYK"]}],
        resolved={"decisions": [decided]}, outputs=[{"role": "final", "uri": "s3://out/a.png", "digest": "c" * 64}],
        passes=[ended_pass("cut_out", made_by="job-0", disposition="reused", model_calls=0), ended_pass("first"),
                ended_pass("upscale", disposition="skipped", reason="upscale is off", key=None, made_by=None,
                           seconds=0.0, model_calls=0)])))
    lines = printed.splitlines()
    assert lines[:3] == ["job-1 omni-bg, profile tiny, completed", "photo: s3://in/a.jpg", "it is CMYK"]
    assert "seed none 7 drawn, as none was asked for" in lines
    assert "cut_out reused 2.35 abababababab job-0" in lines or "cut_out reused 2.34 abababababab job-0" in lines
    assert any(line.startswith("first executed 2.3") and line.endswith("4 abababababab job-1") for line in lines)
    assert "upscale skipped upscale is off" in lines
    assert "final s3://out/a.png" in lines


def test_a_report_shows_what_was_noted_of_each_pass_and_of_which_run() -> None:
    printed = said(lambda console: explain.show(console, report(passes=[
        ended_pass("cut_out"), ended_pass("first", notes=["the VAE worked in tiles", "slow"]),
        ended_pass("upscale", made_by="job-0", disposition="reused", notes=["no upscaler is installed"])])))
    assert printed.splitlines()[-5:] == [
        "Noted", "pass note", "first the VAE worked in tiles", "first slow",
        "upscale of the earlier run: no upscaler is installed"]


def test_a_report_without_decisions_passes_or_pictures_has_no_empty_tables() -> None:
    assert said(lambda console: explain.show(console, report())) == "job-1 omni-bg, profile tiny, completed"


def test_a_failed_jobs_report_says_what_ended_it() -> None:
    error = {"type": "InputError", "message": "image='a.jpg': there is no product"}
    lines = said(lambda console: explain.show(console, report(state="failed", error=error))).splitlines()
    assert lines == ["job-1 omni-bg, profile tiny, failed", "image='a.jpg': there is no product"]


def test_jobs_are_listed_with_when_they_were_opened() -> None:
    printed = said(lambda console: explain.jobs(console, [job(), job("job-0", state="failed", created_at=0)]))
    assert printed.splitlines()[-2:] == ["job-1 omni-bg tiny completed 2026-09-21 14:13:20",
                                         "job-0 omni-bg tiny failed 1970-01-01 00:00:00"]


def test_no_jobs_is_said_with_what_to_do() -> None:
    assert said(lambda console: explain.jobs(console, [])) == "No jobs yet: `backlot run` makes one."


@pytest.mark.parametrize("draw", [
    lambda console: explain.show(console, report(state="failed", error={"message": MARKUP})),
    lambda console: explain.show(console, report(passes=[ended_pass("mix", made_by=None, reason=MARKUP)])),
    lambda console: explain.show(console, report(outputs=[{"role": "final", "uri": MARKUP, "digest": "c" * 64}])),
    lambda console: explain.show(console, report(sources=[{"uri": "a.jpg", "notes": [MARKUP]}])),
    lambda console: explain.show(console, report(passes=[ended_pass("mix", notes=[MARKUP])])),
    lambda console: explain.show(console, report(resolved={"decisions": [
        {"field": "prompt", "requested": MARKUP, "resolved": "a mug", "why": "shortened"}]})),
    lambda console: explain.show(console, report(resolved={"decisions": [
        {"field": "prompt", "requested": None, "resolved": MARKUP, "why": "as asked"}]})),
    lambda console: explain.show(console, report(resolved={"decisions": [
        {"field": "prompt", "requested": None, "resolved": None, "why": MARKUP}]})),
    lambda console: explain.show(console, report(job_id=MARKUP)),
    lambda console: explain.why(console, [why("skipped", reason=MARKUP)]),
    lambda console: explain.why(console, [why("executed", change("params.prompt", "a mug", MARKUP))]),
    lambda console: explain.tree(console, mixed(MARKUP)),
    lambda console: explain.tree(console, Node(role="final", artifact=artifact("mix"),
                                               made_by=made("mix", params={"look": MARKUP}))),
], ids=["error", "reason", "uri", "note", "note of a pass", "asked", "runs as", "why", "job id", "reason in why",
        "prompt in why", "uri in the tree", "parameter in the tree"])
def test_what_a_user_wrote_is_printed_letter_by_letter(draw: Callable[[Console], None]) -> None:
    assert MARKUP in said(draw)
