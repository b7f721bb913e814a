//! Every change of the configuration, by reload and by restart, and the way back.
//!
//! `rows` is the table: what is changed, and what the rules say must be next. The instants there
//! come from the rules by plain arithmetic, never from the code under test. Here is what is done
//! with a row: on the way to the change a good token is signed, which must verify until it expires,
//! whatever is changed.

mod callers;
mod rows;
mod seen;

use std::time::Duration;

use jwksd::api::{EventKind, KeyState, Problem, ReloadResponse};
use jwksd_keystore::store::CommitFault;
use jwksd_keystore::time::Time;
use serde_json::{Value, json};

use crate::app::{CALLERS, START, TestApp};
use crate::token::verifies_at;
use rows::{Change, Row, rows};
use seen::{Seen, look};

/// The key set that is changed. The other one keeps the configuration good without it.
const SET: &str = "shop";
const JWKS: &str = "/shop/.well-known/jwks.json";

/// For how long the daemon is down in a restart.
const DOWN: Duration = Duration::from_mins(10);

/// For how long the good token lives, and how much longer its key must be published.
const TTL: Duration = Duration::from_hours(1);
const SKEW: Duration = Duration::from_mins(1);

/// What was there before the change.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Given {
    /// The set is half an hour old; its standby still waits.
    Young,
    /// The standby has waited.
    Waited,
    /// The set is half an hour old, and an admin planned the standby with `rotate --at`.
    Planned(&'static str),
    /// The set is half an hour old, and an admin rotated with `rotate --now`.
    Rotated,
}

/// How the change takes effect.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Reload,
    ReloadThenRestart,
    Restart,
    Crash,
    /// The store falls silent in the first commit of the reload.
    CrashInReload,
    ReloadThenCrash,
}

/// What the rules reckon with.
#[derive(Clone, Copy, Debug)]
struct Moment {
    by: By,
    /// When the daemon learned of the change that is in force.
    learned: Time,
    now: Time,
    /// Time since the standby was made that does not count towards its wait.
    lost: Duration,
}

/// A row under way.
struct Run {
    app: TestApp,
    moment: Moment,
    /// Signed right before the change, with its expiry.
    good: Option<(String, Time)>,
}

#[actix_web::test]
async fn a_reload_and_the_way_back_have_the_next_events_of_the_rules() {
    for row in rows().iter().filter(|row| row.refused.is_none()) {
        let mut run = Run::start(row, By::Reload).await;
        run.check(row, &row.expected(run.moment)).await;
        run.pass(row, row.back_after).await;
        run.configure_base(row);
        run.reload().await.unwrap();
        run.moment = Moment { now: run.app.now(), ..run.moment };
        let expected = row.expected_back(run.moment);
        run.check(row, &expected).await;
        run.follow(row, &expected).await;
    }
}

#[actix_web::test]
async fn a_reload_and_then_a_restart_have_the_next_events_of_the_rules() {
    for row in rows().iter().filter(|row| row.refused.is_none()) {
        let mut run = Run::start(row, By::ReloadThenRestart).await;
        let expected = row.expected(run.moment);
        run.check(row, &expected).await;
        run.verify_until_expiry(row).await;
        run.follow(row, &expected).await;
    }
}

#[actix_web::test]
async fn a_restart_and_the_way_back_have_the_next_events_of_the_rules() {
    for row in rows().iter().filter(|row| row.refused.is_none()) {
        let mut run = Run::start(row, By::Restart).await;
        run.check(row, &row.expected(run.moment)).await;
        run.pass(row, row.back_after).await;
        run.configure_base(row);
        run.app.restart_after(DOWN).await;
        run.app.settle().await;
        let (now, lost) = (run.app.now(), run.moment.lost + DOWN);
        run.moment = Moment { now, lost, ..run.moment };
        run.check(row, &row.expected_back(run.moment)).await;
    }
}

#[actix_web::test]
async fn a_crash_before_in_or_after_the_reload_loses_only_what_was_not_served_for_certain() {
    // Once the standby has waited, lifecycle time is recorded each hour by the clock of the
    // machine: what a crash loses then is not up to the test.
    for row in rows().iter().filter(|row| row.refused.is_none() && row.given != Given::Waited) {
        for by in [By::Crash, By::CrashInReload, By::ReloadThenCrash] {
            if by == By::CrashInReload && !row.commits() {
                continue;
            }
            let mut run = Run::start(row, by).await;
            run.check(row, &row.expected(run.moment)).await;
        }
    }
}

#[actix_web::test]
async fn a_change_that_is_refused_leaves_the_old_configuration_and_the_store_as_they_are() {
    for row in rows() {
        let Some(words) = row.refused else { continue };
        let mut run = Run::prepare(&row).await;
        let before = run.app.rows.snapshot();
        row.configure(&run.app, row.change);
        let problem = run.reload().await.unwrap_err();
        assert_eq!(problem.status, 409, "{}: {problem:?}", row.name);
        assert!(problem.detail.contains(words), "{}: {problem:?}", row.name);
        run.moment = Moment { by: By::Reload, ..run.moment };
        run.check(&row, &row.expected(run.moment)).await;
        let why = run.app.restart_fails().await;
        assert!(why.contains(words), "{}: {why}", row.name);
        assert_eq!(without_seen(run.app.rows.snapshot()), without_seen(before), "{}", row.name);

        run.configure_base(&row);
        run.app.restart_after(DOWN).await;
        run.app.settle().await;
        run.moment = Moment { now: run.app.now(), lost: DOWN, ..run.moment };
        run.check(&row, &row.expected(run.moment)).await;
    }
}

#[test]
fn a_reload_and_then_a_restart_come_to_the_same_as_a_restart_or_the_row_says_why() {
    let learned = START + Given::Young.age();
    let (now, lost) = (learned + DOWN, DOWN);
    let moment = Moment { by: By::ReloadThenRestart, learned, now, lost };
    for row in rows() {
        let both = row.expected(moment);
        let alone = row.expected(Moment { by: By::Restart, learned: now, ..moment });
        assert_eq!(both != alone, row.why.is_some(), "{}: {:?}", row.name, row.why);
    }
}

/// All rows but the clock's and the count of commits, which a clean stop moves.
fn without_seen(
    mut rows: std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
) -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    rows.retain(|key, _| key != b"seen" && key != b"commits");
    rows
}

impl Given {
    /// How old the set is when the change is made.
    fn age(self) -> Duration {
        match self {
            Self::Young | Self::Planned(_) | Self::Rotated => Duration::from_mins(30),
            Self::Waited => Duration::from_hours(48),
        }
    }

    /// How old the set was at the last commit before the change.
    fn last_commit(self) -> Duration {
        match self {
            Self::Young | Self::Waited => Duration::ZERO,
            Self::Planned(_) | Self::Rotated => ROTATED_AFTER,
        }
    }
}

/// When the admin of [`Given`] acts.
const ROTATED_AFTER: Duration = Duration::from_mins(10);

impl Row {
    fn configure(&self, app: &TestApp, change: Change) {
        app.configure(&self.keysets(change), CALLERS);
    }
}

impl Run {
    /// The daemon with the base configuration, just before the change.
    async fn prepare(row: &Row) -> Self {
        let app = TestApp::with(&row.keysets(Change::Set(&[])), CALLERS).await;
        app.settle().await;
        match row.given {
            Given::Young | Given::Waited => {}
            Given::Planned(at) => rotate(&app, json!({"at": at})).await,
            Given::Rotated => rotate(&app, json!({"now": true})).await,
        }
        let left = row.given.age().saturating_sub(app.now().since(START));
        app.advance(left).await;
        let now = app.now();
        let good = match row.change {
            Change::Add => None,
            Change::Set(_) | Change::Remove => {
                let ask = json!({"claims": {}, "ttl": "1h"});
                Some((app.try_sign(SET, ask).await.unwrap().token, now + TTL))
            }
        };
        let moment = Moment { by: By::Reload, learned: now, now, lost: Duration::ZERO };
        Self { app, moment, good }
    }

    /// The same, and the change.
    async fn start(row: &Row, by: By) -> Self {
        let mut run = Self::prepare(row).await;
        let changed = run.moment.now;
        let since_commit = changed.since(START + row.given.last_commit());
        row.configure(&run.app, row.change);
        let lost = match by {
            By::Reload => {
                run.reload().await.unwrap();
                Duration::ZERO
            }
            By::ReloadThenRestart => {
                run.reload().await.unwrap();
                run.app.restart_after(DOWN).await;
                DOWN
            }
            By::Restart => {
                run.app.restart_after(DOWN).await;
                DOWN
            }
            By::Crash => {
                run.app.crash_and_restart_after(DOWN).await;
                since_commit + DOWN
            }
            By::CrashInReload => {
                run.app.rows.fail_next([CommitFault::FailAndFallSilent]);
                run.reload().await.unwrap();
                run.app.rows.set_failing(false);
                run.app.crash_and_restart_after(DOWN).await;
                since_commit + DOWN
            }
            By::ReloadThenCrash => {
                run.reload().await.unwrap();
                run.app.crash_and_restart_after(DOWN).await;
                if row.commits() { DOWN } else { since_commit + DOWN }
            }
        };
        run.app.settle().await;
        let now = run.app.now();
        let learned = match by {
            By::Reload | By::ReloadThenRestart | By::ReloadThenCrash => changed,
            By::Restart | By::Crash | By::CrashInReload => now,
        };
        run.moment = Moment { by, learned, now, lost };
        run
    }

    fn configure_base(&self, row: &Row) {
        row.configure(&self.app, Change::Set(&[]));
    }

    async fn reload(&self) -> Result<(), Problem> {
        let _: ReloadResponse = self.app.admin_post("/v1/reload", json!({})).await?;
        self.app.settle().await;
        Ok(())
    }

    /// Lets time pass between the change and the way back.
    async fn pass(&mut self, row: &Row, span: Duration) {
        if self.good.as_ref().is_some_and(|(_, expiry)| *expiry < self.app.now() + span) {
            let began = self.app.now();
            self.verify_until_expiry(row).await;
            self.app.advance(span.saturating_sub(self.app.now().since(began))).await;
        } else {
            self.app.advance(span).await;
        }
        if let Some(gone) = row.gone {
            assert_eq!(look(&self.app).await, gone(), "{}: after {span:?}", row.name);
        }
    }

    /// What is there is what the rules say, and the good token verifies.
    async fn check(&mut self, row: &Row, expected: &Expected) {
        let seen = look(&self.app).await;
        assert_eq!(seen, expected.seen, "\n{}, {:?}", row.name, self.moment);
        let now = self.app.now();
        if let Some((token, _)) = self.good.as_ref().filter(|(_, expiry)| now < *expiry) {
            assert!(verifies_at(&self.app, JWKS, token).await, "{}", row.name);
        }
    }

    /// The good token verifies until it has expired for a verifier whose clock is S behind.
    async fn verify_until_expiry(&mut self, row: &Row) {
        let Some((token, expiry)) = self.good.take() else { return };
        let last = (expiry + SKEW).before(Duration::from_secs(1));
        self.app.advance(last.since(self.app.now())).await;
        assert!(verifies_at(&self.app, JWKS, &token).await, "{}", row.name);
    }

    /// What is said to come next comes, not a millisecond early, and without the rotator.
    async fn follow(&mut self, row: &Row, expected: &Expected) {
        let millisecond = Duration::from_millis(1);
        let activations = expected.seen.next.iter().filter(|next| next.1 == EventKind::Activates);
        let Some(at) = activations.clone().map(|next| next.0).min() else { return };
        let to = activations.filter(|next| next.0 == at).map(|next| next.2).max().unwrap();
        if let Some((number, leaves)) = expected.leaves {
            self.advance_to(leaves.before(millisecond)).await;
            assert!(look(&self.app).await.published.contains(&number), "{}", row.name);
            self.advance_to(leaves).await;
            assert!(!look(&self.app).await.published.contains(&number), "{}", row.name);
        }
        self.advance_to(at.before(millisecond)).await;
        let old = expected.seen.signs.unwrap();
        assert_eq!(look(&self.app).await.signs, Ok(old), "{}", row.name);
        self.app.clock.advance(millisecond);
        assert_eq!(seen::signer(&self.app).await.0, Ok(to), "{}", row.name);
        self.app.settle().await;
        let next = look(&self.app).await.next;
        let retires = (at + expected.tail, EventKind::Retires, old);
        assert!(next.contains(&retires), "{}: {retires:?} is not in {next:?}", row.name);
    }

    async fn advance_to(&self, time: Time) {
        self.app.advance(time.since(self.app.now())).await;
    }
}

/// What the rules say.
#[derive(Clone, Debug, PartialEq)]
struct Expected {
    seen: Seen,
    /// For how long the key that signs stays published after it has ended.
    tail: Duration,
    /// Which key leaves the set without having signed, and when.
    leaves: Option<(u64, Time)>,
}

async fn rotate(app: &TestApp, mut body: Value) {
    app.advance(ROTATED_AFTER).await;
    let keys = app.show(SET).await.keys;
    let active = keys.iter().find(|key| key.state == KeyState::Active).unwrap();
    body["expect_active"] = json!(active.kid);
    let _: Value = app.admin_post(&format!("/v1/keysets/{SET}/rotate"), body).await.unwrap();
    app.settle().await;
}
