"""The promise of jwksd, seen from its users: every good token verifies, whatever the keys do.

Stock verifiers with warm caches watch every kind of key change and restart, and must not refuse
one good token. The other tests show that the suite can fail: a key that did not wait is refused,
and so are tokens that no verifier should take.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from daemon import AUDIENCE, PUBLISH_AHEAD, Daemon, running_daemon
from traffic import Traffic
from verifiers import EXPRESS, JOSE, PYJWT, running_verifiers
from waiting import wait_until

# Enough for the first standby to have waited PUBLISH_AHEAD at the scheduled rotation.
UNTIL_SCHEDULED_ROTATION = PUBLISH_AHEAD + timedelta(seconds=13)
# `keys show` may round its times to seconds.
ROUNDING = timedelta(seconds=1)
# When a stray token makes the caches fetch, ahead of a rotation that they then must know.
JUST_BEFORE = timedelta(seconds=3)
# From a due activation to a token of the new key that every verifier has judged.
SLACK = timedelta(seconds=10)
# What each verifier must at least have accepted, or the traffic was too thin to prove anything.
ENOUGH_TOKENS = 500


def test_no_good_token_is_refused() -> None:
    fire = (now() + UNTIL_SCHEDULED_ROTATION).replace(microsecond=0)
    with (
        running_daemon(rotate=daily_at(fire)) as daemon,
        running_verifiers(daemon) as verifiers,
        Traffic(daemon, verifiers) as traffic,
    ):
        first = sign_and_verify(daemon, traffic)
        second = rotate_by_schedule(daemon, traffic, fire)
        third = rotate_by_hand(daemon, traffic)
        fourth = revoke_active(daemon, traffic, third)
        restart(daemon, traffic, fourth, stop=daemon.terminate)
        restart(daemon, traffic, fourth, stop=daemon.kill)

    assert len(traffic.refusals) == 0, traffic.report()
    assert len(traffic.signing_errors) == 0, traffic.report()
    for verifier in verifiers:
        accepted = traffic.accepted_by(verifier)
        assert accepted.keys() == {first, second, third, fourth}, verifier.name
        assert accepted.total() >= ENOUGH_TOKENS, verifier.name


def sign_and_verify(daemon: Daemon, traffic: Traffic) -> str:
    traffic.note("sign and verify")
    traffic.wait_for_fresh(5)
    token = daemon.sign_by_command_line(subject="command-line")
    traffic.show(token)
    assert token.kid == traffic.signing_kid
    return token.kid


def rotate_by_schedule(daemon: Daemon, traffic: Traffic, fire: datetime) -> str:
    """A rotation that nobody asks for: the clock passes a time that was planned before."""
    standby = daemon.wait_for_standby()
    traffic.note(f"scheduled rotation to {standby.kid[:8]} at {fire:%H:%M:%S}")
    assert standby.activates == fire
    wait_for(fire - JUST_BEFORE)
    traffic.show_unknown_kid()
    traffic.wait_for_signer(standby.kid, timeout=seconds_until(fire + SLACK))
    assert now() >= fire
    return standby.kid


def rotate_by_hand(daemon: Daemon, traffic: Traffic) -> str:
    """`keys rotate` plans the standby for when every verifier can fetch it.

    No stray token helps here: the caches date from just before the last rotation, when the
    standby was not published, so a shorter wait would end while they must not fetch again.
    """
    standby = daemon.wait_for_standby()
    daemon.rotate()
    planned = next(key for key in daemon.keys() if key.kid == standby.kid)
    traffic.note(f"manual rotation to {planned.kid[:8]} at {planned.activates:%H:%M:%S}")
    assert planned.activates - planned.published >= PUBLISH_AHEAD - ROUNDING
    traffic.wait_for_signer(planned.kid, timeout=seconds_until(planned.activates + SLACK))
    return planned.kid


def revoke_active(daemon: Daemon, traffic: Traffic, active: str) -> str:
    """The standby takes over at once; it has waited, so verifiers take it at once too."""
    standby = daemon.wait_for_standby()
    ripe = standby.published + PUBLISH_AHEAD + ROUNDING
    traffic.note(f"standby {standby.kid[:8]} has waited by {ripe:%H:%M:%S}")
    wait_for(ripe)
    traffic.show_unknown_kid()
    traffic.note(f"revoke {active[:8]}")
    traffic.forget(active)
    daemon.revoke(active)
    assert daemon.sign(subject="after-revocation").kid == standby.kid
    assert active not in daemon.published_kids()
    traffic.wait_for_signer(standby.kid, timeout=SLACK.seconds)
    traffic.wait_for_fresh(5)
    return standby.kid


def restart(daemon: Daemon, traffic: Traffic, active: str, stop: Callable[[], None]) -> None:
    """Old tokens verify while the daemon is gone, and it comes back with the same keys."""
    daemon.wait_for_standby()
    published = daemon.published_kids()
    traffic.note(f"down by {stop.__name__}")
    with traffic.downtime():
        stop()
        traffic.wait_for_rounds(8)
        daemon.start()
    traffic.note("up again")
    assert daemon.published_kids() == published
    traffic.wait_for_fresh(5)
    assert traffic.signing_kid == active


def test_verifiers_refuse_a_key_that_did_not_wait() -> None:
    """The control: `rotate --now` twice signs with a key that no warm cache can hold.

    PyJWT and jose fetch again only 30 s after their last fetch and refuse until then.
    express-jwt fetches for every unknown kid and does not notice.
    """
    with running_daemon(rotate="manual") as daemon:
        known = daemon.wait_for_standby().kid
        with running_verifiers(daemon) as verifiers, Traffic(daemon, verifiers) as traffic:
            traffic.wait_for_fresh(1)
            daemon.rotate_now()
            traffic.note(f"signs with {known[:8]}, which the verifiers know")
            traffic.wait_for_signer(known, timeout=SLACK.seconds)
            assert len(traffic.refusals) == 0, traffic.report()

            unknown = daemon.wait_for_standby().kid
            daemon.rotate_now()
            traffic.note(f"signs with {unknown[:8]}, which they do not know")
            traffic.wait_for_signer(unknown, timeout=SLACK.seconds)
            assert {refusal.verifier for refusal in traffic.refusals} == {PYJWT, JOSE}
            assert traffic.accepted[EXPRESS, unknown]

            for name in (PYJWT, JOSE):
                traffic.wait_for_acceptance(name, unknown, timeout=40)
                traffic.note(f"{name} accepts {unknown[:8]}")

    assert {refusal.verifier for refusal in traffic.refusals} == {PYJWT, JOSE}
    assert {refusal.kid for refusal in traffic.refusals} == {unknown}
    for refusal in traffic.refusals:
        assert "key" in refusal.reason and "match" in refusal.reason.lower(), refusal


@pytest.mark.parametrize("claim", ["iss", "aud"])
def test_verifiers_refuse_tokens_for_others(claim: str) -> None:
    """The verifiers are strict about whose token it is, and for whom."""
    others = {"iss": {"issuer": "https://other.example"}, "aud": {"audience": f"not-{AUDIENCE}"}}
    with (
        running_daemon(rotate="manual") as daemon,
        running_verifiers(daemon, **others[claim]) as verifiers,
    ):
        token = daemon.sign(subject="someone").text
        for verifier in verifiers:
            verdict = verifier.verify(token)
            assert not verdict.accepted, verifier.name
            assert claim in verdict.reason.lower(), (verifier.name, verdict.reason)


def test_verifiers_refuse_forged_tokens() -> None:
    """The verifiers are strict about signature and algorithm."""
    with running_daemon(rotate="manual") as daemon, running_verifiers(daemon) as verifiers:
        token = daemon.sign(subject="someone")
        with_other_claims = token.with_claims_of(daemon.sign(subject="someone-else"))
        for verifier in verifiers:
            assert verifier.verify(token.text).accepted, verifier.name
            assert not verifier.verify(with_other_claims).accepted, verifier.name
            assert not verifier.verify(token.unsigned()).accepted, verifier.name


def now() -> datetime:
    return datetime.now(UTC)


def seconds_until(time: datetime) -> float:
    return (time - now()).total_seconds()


def wait_for(time: datetime) -> None:
    wait_until(lambda: now() >= time, seconds_until(time + SLACK), f"it is {time:%H:%M:%S}")


def daily_at(time: datetime) -> str:
    """A cron schedule with seconds that fires at `time` and once a day after."""
    return f"{time.second} {time.minute} {time.hour} * * *"
