//! Single decisions and their limits, each by itself; `histories` judges what follows from all of them.

use super::*;
use crate::facts::KeyTypes;
use crate::facts::tests::facts as monthly;

const START: Time = Time::from_millis(1_795_000_000_000);
const MOMENT: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_hours(1);

/// How long a key waits under [`facts`].
const WAIT: Duration = Duration::from_mins(5 + 24 * 60 + 1);

fn facts() -> Facts {
    monthly("0 3 1 * *")
}

/// A key that is served since [`START`].
fn life(number: u64, activates: Option<Time>, planned_by: PlannedBy) -> Life {
    Life {
        number: Number(number),
        algorithm: Algorithm::Es256,
        created: START,
        published: START,
        served_from: START,
        stale_max_age: Duration::ZERO,
        activates,
        planned_by,
        longest_ttl: facts().max_token_ttl,
        may_have_signed: false,
        ended: None,
        retires: None,
        origin: Origin::Generated,
        exported: None,
    }
}

/// Key 1, which signs since [`START`].
fn signer() -> Life {
    life(1, Some(START), PlannedBy::FirstKey)
}

fn set(lives: impl Into<Vec<Life>>) -> Keyset {
    let lives = lives.into();
    let next_number = lives.last().map_or(Number::default(), |life| life.number.next());
    Keyset { lives, next_number, facts: Some(facts()), ..Keyset::default() }
}

fn decide(set: &Keyset, facts: &Facts, intent: &Intent, now: Time) -> Result<Plan, Refusal> {
    plan(set, Some(facts), intent, Now { lifecycle: now, wall: now })
}

fn steps(set: &Keyset, intent: &Intent, now: Time) -> Vec<Step> {
    decide(set, &facts(), intent, now).unwrap().steps
}

fn unserved(set: &Keyset, from: Time, to: Time) -> Vec<Step> {
    steps(set, &Intent::Unserved { from, to }, to)
}

/// That key 2 waits from `served_from` on.
fn waits_from(served_from: Time, may_have_signed: bool) -> Step {
    Step::Unserved { number: Number(2), served_from, may_have_signed }
}

fn activates(number: u64, activates: Time, by: PlannedBy) -> Step {
    Step::Plan { number: Number(number), activates: Some(activates), by }
}

#[test]
fn a_number_reads_as_it_is_written() {
    assert_eq!((Number(7).to_string(), Number(7).next()), ("7".to_owned(), Number(8)));
}

#[test]
fn only_an_origin_elsewhere_is_stored() {
    let stored = |origin| {
        let life = Life { origin, ..signer() };
        let stored = serde_json::to_value(&life).unwrap();
        assert_eq!(serde_json::from_value::<Life>(stored.clone()).unwrap(), life);
        stored.get("origin").cloned()
    };
    assert_eq!(stored(Origin::Generated), None);
    assert_eq!(stored(Origin::Imported), Some("imported".into()));
    assert_eq!(stored(Origin::Trusted), Some("trusted".into()));
}

#[test]
fn keys_of_another_type_are_published_together_only_where_the_operator_says_so() {
    let mut rsa = facts();
    rsa.algorithm = Algorithm::Rs256(crate::algorithm::RsaBits::B2048);
    let set = set([signer()]);
    let refused = Refusal::KeyTypeChanged { living: "EC", wanted: "RSA" };
    assert_eq!(set.admits(&rsa), Err(refused));
    rsa.key_types = KeyTypes::Mixed;
    assert_eq!(set.admits(&rsa), Ok(()));
    assert_eq!(set.admits(&Facts { algorithm: Algorithm::Es384, ..facts() }), Ok(()));
}

#[test]
fn a_wait_that_was_over_before_is_not_put_off_by_time_that_was_not_served() {
    let planned = START + WAIT + HOUR / 2;
    let set = set([signer(), life(2, Some(planned), PlannedBy::Admin)]);
    for from in [START + WAIT, START + WAIT + MOMENT] {
        assert_eq!(unserved(&set, from, from + HOUR), [waits_from(START + HOUR, false)]);
    }
}

#[test]
fn a_key_that_signs_without_a_wait_is_not_put_off_by_time_that_was_not_served() {
    let set = set([signer(), life(2, Some(START + HOUR * 2), PlannedBy::AdminNow)]);
    let steps = unserved(&set, START + HOUR, START + HOUR * 3);
    assert_eq!(steps, [waits_from(START + HOUR * 2, false)]);
}

#[test]
fn a_wait_that_was_interrupted_is_made_up_for_and_no_more() {
    let planned = |at| set([signer(), life(2, Some(at), PlannedBy::Admin)]);
    let (from, to) = (START + HOUR, START + HOUR * 2);
    let (waits, earliest) = (waits_from(START + HOUR, false), START + WAIT + HOUR);
    let moved = activates(2, earliest, PlannedBy::Admin);
    assert_eq!(unserved(&planned(START + WAIT), from, to), [waits.clone(), moved]);
    assert_eq!(unserved(&planned(earliest), from, to), [waits]);
    assert_eq!(unserved(&planned(START + WAIT), from, from), []);
}

#[test]
fn a_key_whose_predecessor_ended_signs_on_after_time_that_was_not_served() {
    let ended = Life { ended: Some(START + HOUR), ..signer() };
    let planned = START + WAIT;
    let alone = set([ended, life(2, Some(planned), PlannedBy::Admin)]);
    let (from, to) = (START + HOUR, planned + HOUR);
    let waits = waits_from(planned, true);
    assert_eq!(unserved(&alone, from, to), [waits, activates(2, planned, PlannedBy::Recovery)]);
}

#[test]
fn a_key_waits_from_the_moment_at_which_every_place_serves_it_and_no_longer() {
    let served = |at, by, from| {
        let set = set([signer(), life(2, Some(at), by)]);
        let intent = Intent::ServedFrom { keys: vec![Number(2)], from };
        steps(&set, &intent, START + HOUR)
    };
    let (later, waited) = (START + HOUR, START + WAIT);
    assert_eq!(served(waited, PlannedBy::Admin, START), []);
    let unmoved = [waits_from(later, false)];
    let moved = activates(2, waited + HOUR, PlannedBy::Admin);
    assert_eq!(served(waited, PlannedBy::Admin, later), [unmoved[0].clone(), moved]);
    assert_eq!(served(waited + HOUR, PlannedBy::Admin, later), unmoved);
    assert_eq!(served(waited, PlannedBy::AdminNow, later), unmoved);
}

#[test]
fn copies_under_a_former_max_age_live_on_through_time_that_was_not_served_while_they_live() {
    let former_max_age = |until| FormerMaxAge { max_age: HOUR, until };
    let lowered = |until| Keyset { former_max_age: former_max_age(until), ..set([signer()]) };
    let (from, to) = (START + HOUR, START + HOUR * 2);
    assert_eq!(unserved(&lowered(from), from, to), []);
    let until = from + MOMENT;
    let adopt = Step::Adopt { facts: facts(), former_max_age: former_max_age(until + HOUR) };
    assert_eq!(unserved(&lowered(until), from, to), [adopt]);
    assert_eq!(unserved(&lowered(until), from, from), []);
}

#[test]
fn a_max_age_that_stays_leaves_no_former_one() {
    let changed = Facts { verifier_cache: HOUR, ..facts() };
    let plan = decide(&set([signer()]), &changed, &Intent::Tick, START).unwrap();
    let former_max_age = FormerMaxAge::default();
    assert_eq!(plan.steps[0], Step::Adopt { facts: changed, former_max_age });
}

#[test]
fn of_two_former_max_ages_the_longer_counts_while_copies_of_it_live() {
    let lower = Facts { jwks_max_age: Duration::from_mins(1), ..facts() };
    let old = facts();
    for (until, max_age) in [(START + MOMENT, HOUR), (START, old.jwks_max_age)] {
        let former_max_age = FormerMaxAge { max_age: HOUR, until };
        let set = Keyset { former_max_age, ..set([signer()]) };
        let plan = decide(&set, &lower, &Intent::Tick, START).unwrap();
        let until = START + old.jwks_max_age + old.verifier_cache;
        let former_max_age = FormerMaxAge { max_age, until };
        assert_eq!(plan.steps[0], Step::Adopt { facts: lower.clone(), former_max_age });
    }
}

#[test]
fn the_schedule_plans_the_key_that_takes_the_place_of_one_that_it_planned() {
    let (facts, changed) = (facts(), Facts { algorithm: Algorithm::Es384, ..facts() });
    let by = PlannedBy::Schedule { cron: "0 3 1 * *".into(), time_zone: "UTC".into() };
    let fire = facts.rotate.next_after(START + WAIT);
    let set = set([signer(), life(2, fire, by.clone())]);
    let plan = decide(&set, &changed, &Intent::Tick, START).unwrap();
    assert_eq!(plan.steps.last(), Some(&activates(3, fire.unwrap(), by)));
}

#[test]
fn a_plan_that_came_too_early_under_the_facts_in_force_is_held_to_the_wait() {
    let longer = Facts { verifier_cache: HOUR * 48, ..facts() };
    let set = set([signer(), life(2, Some(START + WAIT), PlannedBy::Admin)]);
    let plan = decide(&set, &longer, &Intent::Tick, START).unwrap();
    let held = activates(2, START + WAIT + HOUR * 24, PlannedBy::Admin);
    assert_eq!(plan.steps.last(), Some(&held));
}

#[test]
fn a_rotation_is_planned_for_the_end_of_the_wait_at_the_earliest() {
    let set = set([signer(), life(2, None, PlannedBy::Nobody)]);
    let earliest = START + WAIT;
    let rotate = |when| {
        decide(&set, &facts(), &Intent::Rotate { expect: Number(1), when }, START + HOUR)
            .map(|plan| (plan.steps.last().cloned(), plan.answer))
    };
    let answer = |activates, refused_until| Answer::Rotation {
        from: Number(1),
        to: Number(2),
        activates,
        refused_until,
    };
    let planned = |at| Ok((Some(activates(2, at, PlannedBy::Admin)), answer(at, None)));
    assert_eq!(rotate(RotateAt::Waited), planned(earliest));
    assert_eq!(rotate(RotateAt::At(earliest)), planned(earliest));
    assert_eq!(rotate(RotateAt::At(earliest + MOMENT)), planned(earliest + MOMENT));
    let too_early = RotateAt::At(earliest.before(MOMENT));
    assert_eq!(rotate(too_early), Err(Refusal::TooEarly { earliest }));
    let now = START + HOUR;
    let at_once = activates(2, now, PlannedBy::AdminNow);
    assert_eq!(rotate(RotateAt::Now), Ok((Some(at_once), answer(now, Some(earliest)))));
}

#[test]
fn a_key_has_a_moment_to_sign_before_it_is_known_to_be_replaced() {
    let changed = Facts { algorithm: Algorithm::Es384, ..facts() };
    let (now, minute) = (START + WAIT + HOUR, Duration::from_mins(1));
    let right = Life { algorithm: Algorithm::Es384, ..life(3, None, PlannedBy::Nobody) };
    let replaced = |at| {
        let set = set([signer(), life(2, Some(at), PlannedBy::Admin), right.clone()]);
        let set = Keyset { facts: Some(changed.clone()), ..set };
        decide(&set, &changed, &Intent::Tick, now).unwrap().steps.last().cloned()
    };
    let retires = now + changed.max_token_ttl + changed.clock_skew + minute;
    let ended = Step::End { number: Number(2), ended: now, retires };
    assert_eq!(replaced(now + minute), Some(ended));
    let departure = Departure::Replaced;
    let buried = Step::Bury { number: Number(2), departure };
    assert_eq!(replaced(now + minute + MOMENT), Some(buried));
}

#[test]
fn a_new_key_waits_for_copies_of_a_former_max_age_while_they_live() {
    for (until, stale_max_age) in [(START + MOMENT, HOUR), (START, facts().jwks_max_age)] {
        let former_max_age = FormerMaxAge { max_age: HOUR, until };
        let set = Keyset { former_max_age, ..set([signer()]) };
        let steps = steps(&set, &Intent::Tick, START);
        let Step::Create(life) = &steps[0] else { panic!("{steps:?}") };
        assert_eq!(life.stale_max_age, stale_max_age);
    }
}

#[test]
fn a_revocation_of_the_signer_ends_those_that_had_stopped_and_has_the_standby_sign() {
    let signing = |number| life(number, Some(START), PlannedBy::Admin);
    let (revoke, now) = (Intent::Revoke(Number(3)), START + HOUR);
    let ended = Step::End {
        number: Number(1),
        ended: now,
        retires: now + facts().max_token_ttl + facts().clock_skew,
    };
    let buried = Step::Bury { number: Number(3), departure: Departure::Revoked };
    let standby = life(2, None, PlannedBy::Nobody);
    let before = set([signing(1), standby, signing(3)]);
    let promoted = activates(2, now, PlannedBy::Revocation);
    assert_eq!(steps(&before, &revoke, now), [buried.clone(), ended.clone(), promoted]);
    let before = set([signing(1), signing(3)]);
    let fresh = Life {
        created: now,
        published: now,
        served_from: now,
        stale_max_age: facts().jwks_max_age,
        ..life(4, Some(now), PlannedBy::Revocation)
    };
    assert_eq!(steps(&before, &revoke, now), [buried, ended, Step::Create(fresh)]);
}

#[test]
fn a_retried_revocation_of_all_keys_is_done_when_nothing_is_left_from_before() {
    let fresh = life(5, Some(START), PlannedBy::Revocation);
    let standby = life(6, None, PlannedBy::Nobody);
    let answer = |lives: &[Life], expect| {
        let intent = Intent::RevokeAll { expect: Number(expect) };
        decide(&set(lives), &facts(), &intent, START + HOUR).map(|plan| plan.answer)
    };
    let active = Number(5);
    let (done, changed) =
        (Ok(Answer::AlreadyRotated { active }), Err(Refusal::ActiveChanged { active }));
    assert_eq!(answer(&[fresh.clone(), standby.clone()], 4), done);
    assert_eq!(answer(&[fresh.clone(), standby.clone()], 5), Ok(Answer::Done));
    assert_eq!(answer(&[fresh.clone(), standby.clone()], 6), changed);
    let older = Life { ended: Some(START), ..signer() };
    assert_eq!(answer(&[older, fresh.clone()], 4), changed);
    let promoted = Life { created: START.before(MOMENT), ..fresh.clone() };
    assert_eq!(answer(&[promoted, standby.clone()], 4), changed);
    let rotated = Life { planned_by: PlannedBy::AdminNow, ..fresh };
    assert_eq!(answer(&[rotated, standby], 4), changed);
}

#[test]
fn a_trusted_key_has_the_algorithm_that_was_said_and_no_tokens_of_ours() {
    let (now, until) = (START + HOUR, START + HOUR * 2);
    let intent = Intent::Trust { algorithm: Algorithm::Es384, until };
    let trusted = Life {
        algorithm: Algorithm::Es384,
        created: now,
        published: now,
        served_from: now,
        stale_max_age: facts().jwks_max_age,
        longest_ttl: Duration::ZERO,
        ended: Some(now),
        retires: Some(until),
        origin: Origin::Trusted,
        ..life(2, None, PlannedBy::Nobody)
    };
    assert_eq!(steps(&set([signer()]), &intent, now), [Step::Create(trusted)]);
}

#[test]
fn only_a_key_that_has_ended_is_retired_early() {
    let ended = Life { ended: Some(START), ..life(1, Some(START), PlannedBy::FirstKey) };
    let active = life(2, Some(START), PlannedBy::Admin);
    let before = set([ended, active, life(3, None, PlannedBy::Nobody)]);
    let retire = |number| {
        let plan = decide(&before, &facts(), &Intent::Retire(Number(number)), START)?;
        Ok(plan.steps)
    };
    let buried = Step::Bury { number: Number(1), departure: Departure::RetiredEarly };
    assert_eq!(retire(1), Ok(vec![buried]));
    assert_eq!(retire(2), Err(Refusal::RetireActive));
    assert_eq!(retire(3), Err(Refusal::RetirePending));
    assert_eq!(retire(4), Err(Refusal::NoSuchKey));
}

#[test]
fn a_key_is_trusted_for_400_days_at_most() {
    assert_eq!(LONGEST_TRUST, HOUR * 9600);
}
