"""What schemathesis has no check for, and a tally of what was answered. Loaded by schemathesis itself."""

import atexit
import json
import os
import random
import subprocess
from collections import Counter
from datetime import datetime, timedelta, timezone

import schemathesis

# What a request can be refused for that is as the document says: what JSON Schema cannot say (names
# that stand twice), and what the configuration decides.
BEYOND_THE_SCHEMA = {
    "invalid_claims",
    "invalid_ttl",
    "invalid_typ",
    "invalid_key",
    "expect_active_required",
}

# The curve of each key set whose keys are on one.
CURVES = {"default": "P-256", "third": "P-384"}

_tally: Counter[tuple[str, str]] = Counter()
_chance = random.Random(2)


# What signed in each key set when one of them was last looked at.
_active: dict[str, str] = {}


@schemathesis.hook
def after_call(context, case, response):
    """Notes what signs, for revocations of all keys."""
    if response.status_code == 200 and case.path == "/v1/keysets" and case.method.upper() == "GET":
        _active.update({each["name"]: each["active"] for each in response.json()["keysets"]})


@schemathesis.hook
def before_call(context, case, **kwargs):
    """Of what chance does not find, some is put into valid requests."""
    if not case.meta or not case.meta.generation.mode.is_positive or _chance.random() < 0.5:
        return
    if case.path.endswith("/import"):
        # A random text is no key. This one is trusted for a minute.
        keyset = _chance.choice(list(CURVES))
        case.path_parameters["keyset"] = keyset
        until = datetime.now(timezone.utc) + timedelta(minutes=1)
        # The kids that are tried are the same again and again, and each is taken once.
        kid = {"kid": case.body["kid"]} if case.body.get("kid") and _chance.random() < 0.5 else {}
        body = {"key": _public_key(CURVES[keyset]), "verify_only_until": until.isoformat()}
        case.body = {**body, **kid}
    elif case.path.endswith("/revoke-all") and _active and isinstance(case.body, dict):
        keyset = _chance.choice(list(_active))
        case.path_parameters["keyset"] = keyset
        case.body["expect_active"] = _active[keyset]


def _public_key(curve):
    openssl = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}"]
    private = subprocess.run(openssl, capture_output=True, check=True).stdout
    openssl = ["openssl", "pkey", "-pubout"]
    return subprocess.run(openssl, input=private, capture_output=True, check=True).stdout.decode()


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
    """A rotation both now and later, or at the end of time; and a random end of a trusted key."""
    if not isinstance(body, dict):
        return False
    if body.get("verify_only_until"):
        return True
    if not isinstance(body.get("at"), str):
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
