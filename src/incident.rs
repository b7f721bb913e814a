//! PURE: what an incident needs to know of a key, and what to do next.
//!
//! What is stored, what the audit tells and what follows from the stated facts is put together here.
//! Nothing here is certain of other people's verifiers.

mod steps;

use jwksd_keystore::facts::Facts;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::{
    self, Departure, Intent, Keyset, Life, Now, Number, Plan, Refusal, Step,
};
use jwksd_keystore::time::Time;

use crate::api::{
    Incident, IncidentAudit, IncidentBackups, IncidentExport, IncidentExports, IncidentFetchers,
    IncidentTokens, IncidentTrust, IncidentUse, IncidentVerifiers, KeyOrigin, KeyState, Revoking,
};
use crate::audit::usage::{End, Exported, Names, OfKey, Read, Tally};
use crate::verifiers::{self, Client, Route, Trust};

/// How many callers, and how many audiences, are named.
const MOST_NAMED: usize = 100;

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its key set.
    pub keyset: &'a KeysetName,
    /// Its kid.
    pub kid: &'a KeyId,
    /// Its times.
    pub life: &'a Life,
    /// How it left the living, if it did.
    pub departed: Option<Departed<'a>>,
    /// What it may do now.
    pub state: KeyState,
    /// The facts in force in its set.
    pub facts: Option<&'a Facts>,
    /// What the audit says of it.
    pub usage: &'a OfKey,
    /// How much of the audit was read.
    pub read: &'a Read,
    /// The file that may publish it although it left.
    pub still_in: Option<&'a str>,
    /// What its revocation would do.
    pub revoking: Option<&'a Revoking>,
    /// The verifiers that the key set names, or else all that are known.
    pub clients: &'a [&'a Client],
    /// Who has fetched it, where anybody watches.
    pub fetchers: Option<&'a IncidentFetchers>,
}

/// How a key left the living.
#[derive(Clone, Copy, Debug)]
pub struct Departed<'a> {
    /// When.
    pub left: Time,
    /// The reason of its revocation.
    pub reason: Option<&'a str>,
}

/// What is to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One living key.
    One(Number),
    /// All living keys.
    All,
}

/// Until when a verifier that caches as the operator stated may trust a key that left at `left`.
#[must_use]
pub fn trusted_until(facts: Option<&Facts>, left: Time) -> Time {
    facts.map_or(left, |facts| left + facts.waits().publish_ahead())
}

/// What is to be told of a key at `now`.
#[must_use]
pub fn of_key(known: &Known<'_>, now: Time) -> Incident {
    let span = Span::of(known, now);
    let left = known.departed.map(|departed| departed.left);
    let mut incident = Incident {
        keyset: known.keyset.clone(),
        kid: known.kid.clone(),
        state: known.state,
        origin: KeyOrigin::from(known.life.origin),
        at: now.to_string(),
        signed_from: text(span.from),
        signed_until: text(span.until),
        left: text(left),
        reason: known.departed.and_then(|departed| departed.reason).map(str::to_owned),
        tokens: tokens(known, span, now),
        exports: exports(known),
        trust: trust(known, left.unwrap_or(now), now),
        backups: IncidentBackups { count: known.read.backups, last: text(known.read.last_backup) },
        audit: audit(known, span),
        revoking: known.revoking.cloned(),
        steps: Vec::new(),
    };
    incident.steps = steps::of(&incident);
    incident
}

/// What the audit says of a revoked key, in one line.
#[must_use]
pub fn summary(usage: &OfKey, read: &Read) -> String {
    let OfKey { tokens, callers, audiences, .. } = usage;
    let (Some(first), Some(last), Some(expiry)) = (tokens.first, tokens.last, tokens.last_expiry)
    else {
        let end =
            if read.end == End::Interrupted { ", and it was not read to its end" } else { "" };
        return format!("signed no token that the audit knows of{end}");
    };
    let plural = |number: u64| if number == 1 { "" } else { "s" };
    let count = |names: &Names, what: &str| {
        let (known, more) = (names.known() as u64, if names.has_more() { " or more" } else { "" });
        format!("{known}{more} {what}{}", plural(known))
    };
    let mut summary = format!(
        "signed {} token{} from {first} to {last} for {} and {}, the last expires at {expiry}",
        tokens.count,
        plural(tokens.count),
        count(callers, "caller"),
        count(audiences, "audience"),
    );
    if read.end == End::Interrupted {
        summary += "; there was no time to read the whole audit, so there may be more";
    }
    summary
}

/// What a revocation at `now` would do, by the rules that carry it out; `set` is the set as it counts, and
/// `configured` are the facts of the configuration. Nothing where it would be refused.
#[must_use]
pub fn revoking(
    set: &Keyset,
    kid: impl Fn(Number) -> Option<KeyId>,
    configured: Option<&Facts>,
    target: Target,
    now: Now,
) -> Option<Revoking> {
    let plan = planned(set, configured, target, now)?;
    let mut after = set.clone();
    plan.steps.iter().for_each(|step| after.apply(step));
    let revoked = plan.steps.iter().filter_map(|step| match step {
        Step::Bury { number, departure: Departure::Revoked } => kid(*number),
        _ => None,
    });
    let signer = after.signer_at(now.lifecycle);
    let before = set.signer_at(now.lifecycle).map(|life| life.number);
    let promoted = signer.filter(|life| Some(life.number) != before);
    let seen = promoted.zip(configured).map(|(life, facts)| life.waited_at(facts));
    Some(Revoking {
        revoked: revoked.collect(),
        active: signer.and_then(|life| kid(life.number)),
        fresh: signer.is_some_and(|life| set.life(life.number).is_none()),
        refused_until: text(seen.filter(|seen| *seen > now.lifecycle)),
        trusted_until: trusted_until(set.facts.as_ref(), now.lifecycle).to_string(),
    })
}

fn planned(set: &Keyset, facts: Option<&Facts>, target: Target, now: Now) -> Option<Plan> {
    let intent = match target {
        Target::One(number) => Intent::Revoke(number),
        Target::All => Intent::RevokeAll { expect: Number::NONE },
    };
    match lifecycle::plan(set, facts, &intent, now) {
        // Whoever asks means what is.
        Err(Refusal::ActiveChanged { active }) => {
            lifecycle::plan(set, facts, &Intent::RevokeAll { expect: active }, now).ok()
        }
        planned => planned.ok(),
    }
}

/// From when to when a key signed.
#[derive(Clone, Copy)]
struct Span {
    from: Option<Time>,
    until: Option<Time>,
}

impl Span {
    fn of(known: &Known<'_>, now: Time) -> Self {
        let Known { life, .. } = known;
        let left = known.departed.map(|departed| departed.left);
        let end = life.ended.or(left);
        let is_pending = known.state == KeyState::Pending;
        let begun = life.activates.filter(|activates| {
            !is_pending && life.is_signing_key() && *activates <= end.unwrap_or(now)
        });
        // What it signed, it signed: whatever became of its plan later.
        let from = begun.into_iter().chain(known.usage.tokens.first).min();
        let until = match known.state {
            KeyState::Active => None,
            _ => end.or(Some(now)),
        };
        Self { from, until: until.filter(|_| from.is_some()) }
    }
}

fn tokens(known: &Known<'_>, span: Span, now: Time) -> IncidentTokens {
    let OfKey { tokens, unexpired, callers, audiences, .. } = known.usage;
    let last_possible = span.from.map(|_| span.until.unwrap_or(now) + known.life.longest_ttl);
    let (callers, for_other_callers) = uses(callers);
    let (audiences, for_other_audiences) = uses(audiences);
    IncidentTokens {
        count: tokens.count,
        unexpired: *unexpired,
        first: text(tokens.first),
        last: text(tokens.last),
        last_expiry: text(tokens.last_expiry),
        last_possible_expiry: text(last_possible.max(tokens.last_expiry)),
        callers,
        for_other_callers,
        audiences,
        for_other_audiences,
    }
}

fn uses(names: &Names) -> (Vec<IncidentUse>, u64) {
    let (most, others) = names.most(MOST_NAMED);
    let of_name = |(name, tally): (Option<&str>, Tally)| IncidentUse {
        name: name.map(str::to_owned),
        tokens: tally.count,
        first: text(tally.first).unwrap_or_default(),
        last: text(tally.last).unwrap_or_default(),
        last_expiry: text(tally.last_expiry).unwrap_or_default(),
    };
    (most.into_iter().map(of_name).collect(), others.count)
}

/// Who may trust the key, where it left at `left`.
fn trust(known: &Known<'_>, left: Time, now: Time) -> IncidentTrust {
    let trusting = known.facts.map(|facts| {
        // Whether there is a cache in between, nobody tells us.
        verifiers::trusting(facts, Route::SharedCache, known.clients.iter().copied())
    });
    let is_over = |trust: &Trust<'_>| trust.lasts.until(left).is_some_and(|until| until <= now);
    let of_group = |trust: Trust<'_>| IncidentVerifiers {
        lasts: trust.lasts.to_string(),
        until: text(trust.lasts.until(left)),
        names: trust.clients.iter().map(|client| client.name.clone()).collect(),
    };
    let trusting = trusting.into_iter().flatten().filter(|trust| !is_over(trust));
    IncidentTrust {
        until: trusted_until(known.facts, left).to_string(),
        still_in: known.still_in.map(str::to_owned),
        verifiers: trusting.map(of_group).collect(),
        fetchers: known.fetchers.cloned(),
    }
}

fn exports(known: &Known<'_>) -> IncidentExports {
    let of_export = |export: &Exported| IncidentExport {
        at: export.time.to_string(),
        caller: export.caller.clone(),
        form: export.form.clone(),
    };
    IncidentExports {
        since: text(known.life.exported),
        count: known.usage.exported,
        newest: known.usage.exports.iter().map(of_export).collect(),
    }
}

fn audit(known: &Known<'_>, span: Span) -> IncidentAudit {
    let Known { read, usage, life, .. } = known;
    let gaps = gaps(known, span.from.unwrap_or(life.created));
    IncidentAudit {
        complete: gaps.is_empty(),
        lines: read.lines,
        oldest_line: read.oldest.map(|(line, _)| line),
        since: text(read.oldest.map(|(_, time)| time)),
        gaps: gaps.into_iter().chain(shortened(usage)).collect(),
    }
}

/// Why something that the key signed since `from` may not be counted.
fn gaps(known: &Known<'_>, from: Time) -> Vec<String> {
    let Known { read, usage, .. } = known;
    let mut gaps = Vec::new();
    if !known.life.is_signing_key() {
        gaps.push("it signs elsewhere, and nothing of what it signs is known here".to_owned());
    }
    match (read.oldest, read.end) {
        _ if usage.is_from_birth => {}
        (None, End::Beginning | End::Birth) => {
            gaps.push("there is no audit that could be read".to_owned());
        }
        (None, End::Interrupted) => gaps.push("the audit was not read".to_owned()),
        (Some((line, time)), End::Interrupted) => gaps.push(format!(
            "reading took too long, and ended at line {line}, written {time}: what is older is not counted"
        )),
        (Some((line, time)), End::Beginning | End::Birth) if time > from => gaps.push(format!(
            "the audit reaches back to line {line}, written {time}, and no further: what is older is \
             not counted"
        )),
        (Some(_), End::Beginning | End::Birth) => {}
    }
    let counts = [
        (read.missing, "lines are missing in between"),
        (read.unreadable, "rows of the audit cannot be read"),
        (read.unrecorded, "decisions of any kind took effect without being recorded"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    gaps.extend(counts.map(|(count, what)| format!("{count} {what}")));
    gaps
}

fn shortened(usage: &OfKey) -> Option<String> {
    let count = usage.shortened;
    (count > 0)
        .then(|| format!("{count} tokens may have more than the 16 audiences that are recorded"))
}

fn text(time: Option<Time>) -> Option<String> {
    time.map(|time| time.to_string())
}
