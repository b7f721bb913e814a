//! The table: what is changed, and what must be next.
//!
//! A, V, T and S are `jwks_max_age`, `verifier_cache`, `max_token_ttl` and `clock_skew`. A key
//! waits A + max(A, V) + S from its publication, time in which it was not served for certain not
//! counted. A key that ended stays for the longest T it had, and S. Fires of schedules are written
//! out.

use std::time::Duration;

use jwksd::api::{Code, EventKind};
use jwksd_keystore::time::Time;

use super::seen::{Seen, utc};
use super::{By, Expected, Given, Moment, ROTATED_AFTER, SET};
use crate::app::{KEYSETS, START};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// A + max(A, V) + S of the base configuration.
const WAIT: Duration = Duration::from_mins(5 + 24 * 60 + 1);

/// T + S of the base configuration.
const TAIL: Duration = Duration::from_mins(60 + 1);

/// The first fire of the base configuration, and that of `SOON`, a minute after the standby has
/// waited.
const FIRST: &str = "2026-12-01T03:00:00Z";
const SOON: (&str, &str) = ("rotate", "7 3 23 * *");

const ISSUER: &str = "http://127.0.0.1:8080/shop";
const AUDIENCE: &str = "shop-api";

/// The key set that is changed.
const BASE: [(&str, &str); 9] = [
    ("algorithm", "ES256"),
    ("rotate", "0 3 1 * *"),
    ("time_zone", "UTC"),
    ("issuer", ISSUER),
    ("audience", AUDIENCE),
    ("max_token_ttl", "1h"),
    ("jwks_max_age", "5m"),
    ("verifier_cache", "24h"),
    ("clock_skew", "60s"),
];

/// What is done to the key set in the configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    /// These keys get these values.
    Set(Edits),
    Remove,
    Add,
}

type Edits = &'static [(&'static str, &'static str)];

/// What the rules say of a moment.
type Rule = fn(Moment) -> Expected;

/// One change.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) given: Given,
    /// What is different before the change.
    base: Edits,
    pub(super) change: Change,
    /// What is next after the change, or while it is refused.
    after: Rule,
    /// What is next after the way back.
    back: Rule,
    /// When the way back is gone, and what is seen just before it where that is of interest.
    pub(super) back_after: Duration,
    pub(super) gone: Option<fn() -> Seen>,
    /// Why a restart comes to something else than a reload and then a restart.
    pub(super) why: Option<&'static str>,
    /// What a refusal says.
    pub(super) refused: Option<&'static str>,
}

impl Row {
    pub(super) fn expected(&self, moment: Moment) -> Expected {
        (self.after)(moment)
    }

    pub(super) fn expected_back(&self, moment: Moment) -> Expected {
        (self.back)(moment)
    }

    /// Whether a reload with the change writes to the store: not where only tokens change.
    pub(super) fn commits(&self) -> bool {
        match self.change {
            Change::Set(edits) => {
                edits.iter().any(|(key, _)| !["issuer", "audience"].contains(key))
            }
            Change::Remove | Change::Add => true,
        }
    }

    /// The key sets of the configuration.
    pub(super) fn keysets(&self, change: Change) -> String {
        let edits = match change {
            Change::Set([]) if self.change == Change::Add => return KEYSETS.to_owned(),
            Change::Remove => return KEYSETS.to_owned(),
            Change::Set(edits) => edits,
            Change::Add => &[],
        };
        let mut keyset: Vec<(&str, &str)> = BASE.to_vec();
        for (key, value) in self.base.iter().chain(edits) {
            keyset.retain(|(other, _)| other != key);
            keyset.push((key, value));
        }
        let line = |(key, value): &(&str, &str)| match *key {
            "rsa_bits" | "mixed_kty" => format!("{key} = {value}\n"),
            _ => format!("{key} = \"{value}\"\n"),
        };
        let lines: String = keyset.iter().map(line).collect();
        format!("{KEYSETS}\n[keysets.{SET}]\n{lines}")
    }

    fn given(self, given: Given) -> Self {
        Self { given, ..self }
    }

    fn base(self, base: Edits) -> Self {
        Self { base, ..self }
    }

    fn back(self, back: Rule) -> Self {
        Self { back, ..self }
    }

    fn why(self, why: &'static str) -> Self {
        Self { why: Some(why), ..self }
    }
}

/// A row about a young set in which the way back leads to where it began.
fn row(name: &'static str, change: Change, after: Rule) -> Row {
    Row {
        name,
        given: Given::Young,
        base: &[],
        change,
        after,
        back: unchanged,
        back_after: Duration::from_mins(20),
        gone: None,
        why: None,
        refused: None,
    }
}

/// A row about a change that cannot be.
fn refused(name: &'static str, change: Change, words: &'static str) -> Row {
    Row { refused: Some(words), ..row(name, change, unchanged) }
}

pub(super) fn rows() -> Vec<Row> {
    [schedules(), planned_by_admins(), algorithms(), facts(), sets(), others()]
        .into_iter()
        .flatten()
        .collect()
}

fn schedules() -> Vec<Row> {
    use Change::Set;
    const MANUAL: Edits = &[("rotate", "manual")];
    vec![
        row("a later fire", Set(&[("rotate", "0 4 1 * *")]), |m| next(m, "2026-12-01T04:00:00Z")),
        row("an earlier fire", Set(&[("rotate", "0 3 25 * *")]), |m| next(m, "2026-11-25T03:00:00Z")),
        row("the same fires in other words", Set(&[("rotate", "0 3 1 1-12 *")]), unchanged),
        row("a fire within the wait", Set(&[("rotate", "0 3 23 * *")]), |m| {
            next(m, "2026-12-23T03:00:00Z")
        }),
        row("a fire right after the wait", Set(&[("rotate", "10 3 23 * *")]), |m| {
            let waited = START + m.lost + WAIT;
            match m.by {
                By::Reload => next(m, "2026-11-23T03:10:00Z"),
                By::ReloadThenRestart | By::ReloadThenCrash => next(m, &waited.to_string()),
                By::Restart | By::Crash | By::CrashInReload => next(m, "2026-12-23T03:10:00Z"),
            }
        })
        .why("what was planned before the downtime waits the rest, what is planned after it does not"),
        row("only by hand", Set(MANUAL), |m| Expected { seen: by_hand(m), ..unchanged(m) }),
        row("no longer by hand", Set(&[("rotate", "0 3 1 * *")]), unchanged)
            .base(MANUAL)
            .back(|m| Expected { seen: by_hand(m), ..unchanged(m) }),
        row("another time zone", Set(&[("time_zone", "Europe/Berlin")]), |m| {
            next(m, "2026-12-01T02:00:00Z")
        }),
        row("a time zone behind", Set(&[("time_zone", "America/New_York")]), |m| {
            next(m, "2026-12-01T08:00:00Z")
        }),
        row(
            "the same instants in another time zone",
            Set(&[("time_zone", "Europe/Berlin"), ("rotate", "0 4 1 * *")]),
            unchanged,
        ),
        row("an earlier fire, waited", Set(&[("rotate", "0 3 25 * *")]), |m| {
            next(m, "2026-11-25T03:00:00Z")
        })
        .given(Given::Waited),
        row("a fire that is just over, waited", Set(&[("rotate", "0 3 24 * *")]), |m| {
            next(m, "2026-12-24T03:00:00Z")
        })
        .given(Given::Waited),
        row("no longer by hand, waited", Set(&[("rotate", "0 3 1 * *")]), unchanged)
            .base(MANUAL)
            .given(Given::Waited)
            .back(|m| Expected { seen: by_hand(m), ..unchanged(m) }),
        refused("fires too dense", Set(&[("rotate", "0 3 * * *")]), "1d6m"),
        refused("a zone that is not", Set(&[("time_zone", "Mars/Olympus")]), "unknown time zone"),
    ]
}

/// What an admin planned is moved by no schedule, only by a longer wait.
fn planned_by_admins() -> Vec<Row> {
    use Change::Set;
    const AT: &str = "2026-11-27T12:00:00Z";
    let stays: Rule = |m| next(m, AT);
    let planned = |name, change| row(name, change, stays).given(Given::Planned(AT)).back(stays);
    vec![
        planned("planned, a later fire", Set(&[("rotate", "0 4 1 * *")])),
        planned("planned, an earlier fire", Set(&[("rotate", "0 3 25 * *")])),
        planned("planned, only by hand", Set(&[("rotate", "manual")])),
        planned("planned, no longer by hand", Set(&[("rotate", "0 3 1 * *")]))
            .base(&[("rotate", "manual")]),
        planned("planned, another time zone", Set(&[("time_zone", "Europe/Berlin")])),
        Row {
            after: |m| waiting(m, AT, 5 * MINUTE, 144 * HOUR, MINUTE),
            back: |m| {
                let moved = waiting(m, AT, 5 * MINUTE, 144 * HOUR, MINUTE).seen.next;
                with(unchanged(m), |seen| seen.next = moved)
            },
            ..planned("planned, before the longer wait is over", Set(&[("verifier_cache", "144h")]))
        },
        Row {
            base: &[("mixed_kty", "true")],
            after: |m| replaced(m, utc(AT), utc(AT)),
            ..planned("planned, another algorithm", Set(&[("algorithm", "EdDSA")]))
        },
        // Copies of the set without the new key are about that may be reused for an hour yet.
        Row {
            base: &[("mixed_kty", "true"), ("jwks_max_age", "1h")],
            given: Given::Planned("2026-11-23T04:30:00Z"),
            after: |m| {
                let wait = HOUR + 24 * HOUR + MINUTE;
                let old = utc("2026-11-23T04:30:00Z").max(START + m.lost + wait);
                let expected = replaced(m, old, old.max(m.now + wait));
                let leaves = (1, m.now + wait);
                let expected = with(expected, |seen| seen.waited = Some(START + m.lost + wait));
                Expected { leaves: (leaves.1 <= old).then_some(leaves), ..expected }
            },
            back: |m| {
                let wait = HOUR + 24 * HOUR + MINUTE;
                let at = utc("2026-11-23T04:30:00Z").max(START + m.lost + wait);
                with(next(m, &at.to_string()), |seen| {
                    seen.max_age = Some(3600);
                    seen.waited = Some(START + m.lost + wait);
                })
            },
            ..planned(
                "planned, another algorithm and shorter reuse at once",
                Set(&[("algorithm", "EdDSA"), ("jwks_max_age", "5m")]),
            )
        },
    ]
}

fn algorithms() -> Vec<Row> {
    use Change::Set;
    const MIXED: Edits = &[("mixed_kty", "true")];
    const RS256: Edits = &[("algorithm", "RS256")];
    const ED_DSA: Edits = &[("algorithm", "EdDSA")];
    const ML_DSA_44: Edits = &[("algorithm", "ML-DSA-44")];
    let first: Rule = |m| replaced(m, utc(FIRST), utc(FIRST));
    vec![
        row("larger RSA keys", Set(&[("rsa_bits", "3072")]), first).base(RS256),
        row("another algorithm for RSA keys", Set(&[("algorithm", "PS256")]), first).base(RS256),
        row("another curve", Set(&[("algorithm", "ES384")]), first),
        row("larger ML-DSA keys", Set(&[("algorithm", "ML-DSA-87")]), first).base(ML_DSA_44),
        row("another kty, mixed", Set(ED_DSA), first).base(MIXED),
        row("another kty, mixed, waited", Set(ED_DSA), first).base(MIXED).given(Given::Waited),
        // The new key has not waited when the schedule fires, so the old standby signs.
        row("another kty, mixed, just before a fire", Set(ED_DSA), |m| {
            let expected = replaced(m, utc("2026-11-24T15:00:00Z"), utc("2026-12-24T15:00:00Z"));
            Expected { leaves: None, ..expected }
        })
        .base(&[("mixed_kty", "true"), ("rotate", "0 15 24 * *")])
        .given(Given::Waited)
        .back(|m| next(m, "2026-11-24T15:00:00Z")),
        refused("another kty", Set(ED_DSA), "make a new key set"),
        refused("a kty against quantum computers", Set(ML_DSA_44), "make a new key set"),
    ]
}

fn facts() -> Vec<Row> {
    use Change::Set;
    const FIRE: &str = "2026-11-23T03:07:00Z";
    let soon = |name, change, after, back| row(name, change, after).base(&[SOON]).back(back);
    vec![
        // The keys there are keep the longer lifetime: tokens of it may exist.
        row("longer tokens", Set(&[("max_token_ttl", "2h")]), |m| {
            let expected = with(unchanged(m), |seen| seen.longest_ttl = Some("2h".into()));
            Expected { tail: 2 * HOUR + MINUTE, ..expected }
        })
        .back(|m| Expected { tail: 2 * HOUR + MINUTE, ..unchanged(m) }),
        row("shorter tokens", Set(&[("max_token_ttl", "30m")]), |m| {
            with(unchanged(m), |seen| seen.longest_ttl = Some("30m".into()))
        }),
        // An activation is moved to the end of a longer wait, and not back.
        soon(
            "longer reuse",
            Set(&[("jwks_max_age", "10m")]),
            |m| with(waiting(m, FIRE, 10 * MINUTE, 24 * HOUR, MINUTE), |s| s.max_age = Some(600)),
            |m| moved(m, FIRE, 10 * MINUTE, 24 * HOUR, MINUTE),
        ),
        soon(
            "longer caches",
            Set(&[("verifier_cache", "48h")]),
            |m| waiting(m, FIRE, 5 * MINUTE, 48 * HOUR, MINUTE),
            |m| moved(m, FIRE, 5 * MINUTE, 48 * HOUR, MINUTE),
        ),
        soon(
            "worse clocks",
            Set(&[("clock_skew", "5m")]),
            |m| {
                let expected = waiting(m, FIRE, 5 * MINUTE, 24 * HOUR, 5 * MINUTE);
                Expected { tail: HOUR + 5 * MINUTE, ..expected }
            },
            |m| moved(m, FIRE, 5 * MINUTE, 24 * HOUR, 5 * MINUTE),
        ),
        // Shorter waits count at once for what an admin asks; the schedule stays what it was.
        row("shorter reuse", Set(&[("jwks_max_age", "5m")]), |m| {
            // Copies without the standby may be an hour old.
            waiting(m, FIRST, HOUR, 24 * HOUR, MINUTE)
        })
        .base(&[("jwks_max_age", "1h")])
        .back(|m| {
            with(waiting(m, FIRST, HOUR, 24 * HOUR, MINUTE), |seen| seen.max_age = Some(3600))
        }),
        row("shorter caches", Set(&[("verifier_cache", "1h")]), |m| {
            waiting(m, FIRST, 5 * MINUTE, HOUR, MINUTE)
        }),
        row("caches shorter than reuse", Set(&[("verifier_cache", "1m")]), |m| {
            waiting(m, FIRST, 5 * MINUTE, 5 * MINUTE, MINUTE)
        }),
        row("better clocks", Set(&[("clock_skew", "10s")]), |m| {
            let skew = Duration::from_secs(10);
            Expected { tail: HOUR + skew, ..waiting(m, FIRST, 5 * MINUTE, 24 * HOUR, skew) }
        }),
        row("longer caches, waited", Set(&[("verifier_cache", "96h")]), |m| {
            waiting(m, FIRST, 5 * MINUTE, 96 * HOUR, MINUTE)
        })
        .given(Given::Waited),
        refused("caches longer than gaps", Set(&[("verifier_cache", "28d")]), "28d6m"),
        row("longer tokens, rotated", Set(&[("max_token_ttl", "2h")]), |m| {
            let expected = with(rotated(m), |seen| seen.longest_ttl = Some("2h".into()));
            Expected { tail: 2 * HOUR + MINUTE, ..expected }
        })
        .given(Given::Rotated)
        .back(|m| Expected { tail: 2 * HOUR + MINUTE, ..rotated(m) }),
        // Nothing recomputes when a key that has ended retires.
        row("worse clocks, rotated", Set(&[("clock_skew", "5m")]), |m| {
            let wait = 5 * MINUTE + 24 * HOUR + 5 * MINUTE;
            let waited = START + ROTATED_AFTER + m.lost + wait;
            let expected = with(rotated(m), |seen| seen.waited = Some(waited));
            Expected { tail: HOUR + 5 * MINUTE, ..expected }
        })
        .given(Given::Rotated)
        .back(rotated),
    ]
}

fn sets() -> Vec<Row> {
    const LEARNED: &str = "a key ends when the daemon learns that its set is gone";
    vec![
        row("removed, back while its key is verified", Change::Remove, removed)
            .why(LEARNED)
            .back(recovered),
        Row {
            back_after: 2 * HOUR,
            gone: Some(|| Seen { max_age: None, ..nothing() }),
            ..row("removed, back when its last key is gone", Change::Remove, removed)
                .why(LEARNED)
                .back(begun_anew)
        },
        row("removed, waited", Change::Remove, removed)
            .given(Given::Waited)
            .why(LEARNED)
            .back(recovered),
        // Its key was the planned one: it signs at once, and the plan is gone.
        row("removed, planned", Change::Remove, removed)
            .given(Given::Planned("2026-11-27T12:00:00Z"))
            .why(LEARNED)
            .back(recovered),
        row("removed, rotated", Change::Remove, |m| {
            let retires = [(first_retires(), 0), (m.learned + TAIL, 1)];
            let next = retires.map(|(at, number)| (at, EventKind::Retires, number)).to_vec();
            gone(Seen { published: vec![0, 1, 2], next, ..nothing() })
        })
        .given(Given::Rotated)
        .why(LEARNED)
        .back(|m| {
            with(unchanged(m), |seen| {
                seen.signs = Ok(2);
                seen.published = vec![0, 1, 2, 3];
                seen.next = vec![
                    (first_retires(), EventKind::Retires, 0),
                    (m.learned + TAIL, EventKind::Retires, 1),
                    (utc(FIRST), EventKind::Activates, 3),
                ];
                seen.waited = Some(m.now + WAIT);
            })
        }),
        row("added", Change::Add, |m| with(unchanged(m), |seen| seen.waited = Some(m.now + WAIT)))
            .back(|m| {
                let next = vec![(m.now + TAIL, EventKind::Retires, 0)];
                gone(Seen { published: vec![0, 1], next, ..nothing() })
            }),
    ]
}

fn others() -> Vec<Row> {
    use Change::Set;
    const ELSEWHERE: &str = "https://issuer.example.com";
    vec![
        row("nothing", Set(&[]), unchanged),
        row(
            "another issuer and audience",
            Set(&[("issuer", ELSEWHERE), ("audience", "other")]),
            |m| with(unchanged(m), |s| s.tokens = Some([ELSEWHERE.to_owned(), "other".to_owned()])),
        ),
        row("nothing, waited", Set(&[]), unchanged).given(Given::Waited),
        row("nothing, rotated", Set(&[]), rotated).given(Given::Rotated).back(rotated),
        row(
            "several at once",
            Set(&[
                ("rotate", "0 6 1 * *"),
                ("time_zone", "Europe/Berlin"),
                ("max_token_ttl", "2h"),
                ("jwks_max_age", "10m"),
                ("verifier_cache", "36h"),
                ("clock_skew", "2m"),
                ("issuer", ELSEWHERE),
            ]),
            |m| {
                let expected =
                    waiting(m, "2026-12-01T05:00:00Z", 10 * MINUTE, 36 * HOUR, 2 * MINUTE);
                let expected = with(expected, |seen| {
                    seen.tokens = Some([ELSEWHERE.to_owned(), AUDIENCE.to_owned()]);
                    seen.max_age = Some(600);
                    seen.longest_ttl = Some("2h".into());
                });
                Expected { tail: 2 * HOUR + 2 * MINUTE, ..expected }
            },
        )
        .back(|m| Expected { tail: 2 * HOUR + MINUTE, ..unchanged(m) }),
    ]
}

fn with(mut expected: Expected, change: impl FnOnce(&mut Seen)) -> Expected {
    change(&mut expected.seen);
    expected
}

/// The base configuration: the first key signs, the standby waits and follows at the next fire.
fn unchanged(m: Moment) -> Expected {
    next(m, FIRST)
}

/// The same with another activation of the standby.
fn next(m: Moment, at: &str) -> Expected {
    let seen = Seen {
        signs: Ok(0),
        tokens: Some([ISSUER.to_owned(), AUDIENCE.to_owned()]),
        published: vec![0, 1],
        max_age: Some(300),
        longest_ttl: Some("1h".into()),
        next: vec![(utc(at), EventKind::Activates, 1)],
        waited: Some(m.now.max(START + m.lost + WAIT)),
    };
    Expected { seen, tail: TAIL, leaves: None }
}

/// Nothing is planned.
fn by_hand(m: Moment) -> Seen {
    Seen { next: vec![], ..unchanged(m).seen }
}

/// The standby follows at `fire`, not before A + max(A, V) + S.
fn waiting(m: Moment, fire: &str, a: Duration, v: Duration, s: Duration) -> Expected {
    let waited = START + m.lost + a + a.max(v) + s;
    with(next(m, &utc(fire).max(waited).to_string()), |seen| seen.waited = Some(m.now.max(waited)))
}

/// The way back from facts that moved the activation: it stays there.
fn moved(m: Moment, fire: &str, a: Duration, v: Duration, s: Duration) -> Expected {
    let moved = waiting(m, fire, a, v, s).seen.next;
    with(unchanged(m), |seen| seen.next = moved)
}

/// Another algorithm: the old standby follows at `old` unless the new one has waited before; the
/// new one follows at `new`.
fn replaced(m: Moment, old: Time, new: Time) -> Expected {
    let expected = with(unchanged(m), |seen| {
        seen.published = vec![0, 1, 2];
        seen.next = vec![(old, EventKind::Activates, 1), (new, EventKind::Activates, 2)];
    });
    Expected { leaves: Some((1, m.now + WAIT)), ..expected }
}

/// When the first key retires after the admin's rotation.
fn first_retires() -> Time {
    START + ROTATED_AFTER + TAIL
}

/// After the admin's rotation, with the base configuration.
fn rotated(m: Moment) -> Expected {
    with(unchanged(m), |seen| {
        seen.signs = Ok(1);
        seen.published = vec![0, 1, 2];
        seen.next =
            vec![(first_retires(), EventKind::Retires, 0), (utc(FIRST), EventKind::Activates, 2)];
        seen.waited = Some(START + ROTATED_AFTER + m.lost + WAIT);
    })
}

/// A set that is not in the configuration, and what is left of it.
fn gone(seen: Seen) -> Expected {
    Expected { seen, tail: TAIL, leaves: None }
}

fn nothing() -> Seen {
    Seen {
        signs: Err(Code::NotConfigured),
        tokens: None,
        published: vec![],
        max_age: Some(300),
        longest_ttl: None,
        next: vec![],
        waited: None,
    }
}

/// The key that signed has ended; the standby stays, and is planned by nobody.
fn removed(m: Moment) -> Expected {
    let next = vec![(m.learned + TAIL, EventKind::Retires, 0)];
    gone(Seen { published: vec![0, 1], next, ..nothing() })
}

/// The standby that verifiers know signs at once.
fn recovered(m: Moment) -> Expected {
    with(unchanged(m), |seen| {
        seen.signs = Ok(1);
        seen.published = vec![0, 1, 2];
        seen.next =
            vec![(m.learned + TAIL, EventKind::Retires, 0), (utc(FIRST), EventKind::Activates, 2)];
        seen.waited = Some(m.now + WAIT);
    })
}

/// As a new set; numbers are not used again.
fn begun_anew(m: Moment) -> Expected {
    with(unchanged(m), |seen| {
        seen.signs = Ok(2);
        seen.published = vec![2, 3];
        seen.next = vec![(utc(FIRST), EventKind::Activates, 3)];
        seen.waited = Some(m.now + WAIT);
    })
}
