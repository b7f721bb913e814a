"""What schemathesis has no check for, and a tally of what was answered. Loaded by schemathesis itself."""

import atexit
import json
import os
from collections import Counter

import schemathesis

# What a request can be refused for that is as the document says: what JSON Schema cannot say (names
# that stand twice), and what the configuration decides.
BEYOND_THE_SCHEMA = {"invalid_claims", "invalid_ttl", "invalid_typ", "expect_active_required"}

_tally: Counter[tuple[str, str]] = Counter()


@schemathesis.check
def every_problem_is_described(ctx, response, case):
    """Each refusal is a problem, with its own status and a code that the operation has for it."""
    _tally[case.operation.label, str(response.status_code)] += 1
    assert response.headers["cache-control"] == ["no-store"], "it may be cached"
    if response.status_code == 200:
        return
    assert response.headers["content-type"] == ["application/problem+json"]
    problem = response.json()
    assert problem["status"] == response.status_code
    if case.method.upper() != case.operation.method.upper():
        assert problem["code"] == "method_not_allowed"
    else:
        described = case.operation.definition.raw["responses"][str(response.status_code)]
        assert problem["code"] in described["x-codes"], f"{problem['code']} is not described"


@schemathesis.check
def what_is_valid_is_not_called_invalid(ctx, response, case):
    """In place of positive_data_acceptance: see BEYOND_THE_SCHEMA."""
    if not case.meta or not case.meta.generation.mode.is_positive:
        return
    if response.status_code in (400, 413, 415, 428):
        problem = response.json()
        is_beyond = problem["code"] in BEYOND_THE_SCHEMA or _is_a_wrong_time(case.body)
        assert is_beyond, f"{problem['code']}: {problem['detail']}"


def _is_a_wrong_time(body):
    """A rotation both now and later, or at the end of time."""
    if not isinstance(body, dict) or not isinstance(body.get("at"), str):
        return False
    return body.get("now") is True or body["at"] >= "9999-12-30"


@schemathesis.check
def a_batch_answers_each_request(ctx, response, case):
    """In place of negative_data_rejection: what is wrong with one request is its own result."""
    if not case.path.endswith("/batch") or response.status_code != 200:
        return
    results = response.json()["results"]
    assert len(results) == len(case.body["requests"])
    if case.meta and case.meta.generation.mode.is_negative:
        assert any("error" in result for result in results), "all of them were signed"


@atexit.register
def _write_tally():
    if path := os.environ.get("SCHEMA_TALLY"):
        rows = [[label, status, count] for (label, status), count in sorted(_tally.items())]
        with open(path, "w") as file:
            json.dump(rows, file)
