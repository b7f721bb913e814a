//! PURE: what to do next about a key, with the commands as they are to be typed.

use jwksd_keystore::time::Time;

use crate::api::{Incident, IncidentStep, IncidentUse, IncidentVerifiers, KeyState};

/// How many names stand in one sentence.
const MOST_IN_A_SENTENCE: usize = 5;

/// No option of the command line has so many characters.
const LONGER_THAN_OPTIONS: usize = 32;

/// What to do next, in this order.
pub(super) fn of(incident: &Incident) -> Vec<IncidentStep> {
    let mut steps = match incident.state {
        KeyState::Revoked => Vec::new(),
        KeyState::Pending | KeyState::Active | KeyState::VerifyOnly => take_out(incident),
        KeyState::Retired => mark(incident),
    };
    steps.extend(by_hand(incident));
    steps.extend(file(incident));
    steps.extend(restart(incident));
    steps.extend(fetchers(incident));
    steps.extend(tell(incident));
    steps.extend(ask_again(incident));
    steps.push(back_up(incident));
    steps.push(step(
        "see whether the audit is as it was written: else what is counted here may be wrong",
        "jwksd audit verify",
    ));
    steps.push(over(incident));
    steps
}

fn take_out(incident: &Incident) -> Vec<IncidentStep> {
    let keyset = &incident.keyset;
    vec![
        step(
            "take the key out of the JWK Set, at once and for good",
            about_key("revoke", incident, " --reason \"stolen\""),
        ),
        step(
            "instead, if the thief was on this host, or may have had the store with the master key: take \
             all keys of the set out, and of every other set",
            format!("jwksd keys revoke {keyset} --all --reason \"stolen\""),
        ),
    ]
}

fn mark(incident: &Incident) -> Vec<IncidentStep> {
    vec![step(
        "the key has left the JWK Set; have it marked as revoked, so that no restore brings it back",
        about_key("revoke", incident, " --reason \"stolen\""),
    )]
}

/// Who holds a key himself does not hear of its revocation.
fn by_hand(incident: &Incident) -> Option<IncidentStep> {
    let exports = &incident.exports;
    if exports.count == 0 && exports.since.is_none() {
        return None;
    }
    let known: Vec<String> = exports
        .newest
        .iter()
        .take(MOST_IN_A_SENTENCE)
        .map(|export| format!("as {} to {} at {}", export.form, export.caller, export.at))
        .collect();
    let known = match (known.is_empty(), &exports.since) {
        (false, _) => format!(": {}", known.join(", ")),
        (true, Some(since)) => format!(", first at {since}"),
        (true, None) => String::new(),
    };
    Some(said(format!(
        "take the key out by hand wherever its public half was put, such as a PEM in a setting: nothing \
         else does. It was exported{known}"
    )))
}

fn file(incident: &Incident) -> Option<IncidentStep> {
    let file = incident.trust.still_in.as_ref()?;
    Some(step(
        format!(
            "{file} may publish the key still: take the file away, or see to what is wrong with it"
        ),
        "jwksd status",
    ))
}

/// Verifiers that do not let go of a key by themselves, or not by the time at which it is over.
fn restart(incident: &Incident) -> Option<IncidentStep> {
    let time = |text: &String| text.parse::<Time>().ok();
    let over = time(&incident.trust.until);
    let is_longer =
        |group: &&IncidentVerifiers| group.until.as_ref().is_none_or(|until| time(until) > over);
    let longer = incident.trust.verifiers.iter().filter(is_longer);
    let names: Vec<&str> =
        longer.flat_map(|group| group.names.iter().map(String::as_str)).collect();
    if names.is_empty() {
        return None;
    }
    Some(said(format!(
        "restart those of your verifiers that may trust it for longer than until {}; of those that are \
         known, these: {}",
        incident.trust.until,
        names.join(", ")
    )))
}

fn fetchers(incident: &Incident) -> Option<IncidentStep> {
    let fetchers = incident.trust.fetchers.as_ref()?;
    let Incident { keyset, state, .. } = incident;
    if fetchers.known == 0 {
        return None;
    }
    let since = match state {
        KeyState::Revoked | KeyState::Retired => "have not fetched the JWK Set without the key",
        KeyState::Pending | KeyState::Active | KeyState::VerifyOnly => "have the key",
    };
    Some(step(
        format!(
            "see who still trusts it: {} of {} known fetchers {since}; restart those that do not fetch",
            fetchers.holding, fetchers.known
        ),
        format!("jwksd fetchers --keyset {keyset}"),
    ))
}

fn tell(incident: &Incident) -> Option<IncidentStep> {
    let audiences = sentence(&incident.tokens.audiences, incident.tokens.for_other_audiences);
    let audiences = audiences?;
    Some(said(format!(
        "tell who answers for the audiences that the key signed for: {audiences}. Whoever has the secret \
         can make tokens for any audience, with any claims"
    )))
}

fn ask_again(incident: &Incident) -> Option<IncidentStep> {
    let tokens = &incident.tokens;
    let callers = sentence(&tokens.callers, tokens.for_other_callers)?;
    if tokens.unexpired == 0 {
        return None;
    }
    Some(said(format!(
        "have the callers ask for new tokens, since verifiers refuse their {} good ones as they fetch: \
         {callers}",
        tokens.unexpired
    )))
}

fn back_up(incident: &Incident) -> IncidentStep {
    let backups = &incident.backups;
    let older = match (backups.count, &backups.last) {
        (0, _) | (_, None) => "older ones".to_owned(),
        (1, Some(last)) => format!("older ones (one was made since the key was, at {last})"),
        (count, Some(last)) => {
            format!("older ones ({count} were made since the key was, the last at {last})")
        }
    };
    step(
        format!(
            "make a new backup and destroy the {older}: they may hold the secret, and a restore revokes \
             the key again only where the audit is there to tell"
        ),
        "jwksd store backup jwksd.backup --force",
    )
}

fn over(incident: &Incident) -> IncidentStep {
    let trust = &incident.trust;
    let from = match incident.state {
        KeyState::Revoked | KeyState::Retired => "",
        KeyState::Pending | KeyState::Active | KeyState::VerifyOnly => ", if it is revoked now",
    };
    step(
        format!(
            "it is over at {}{from}, for verifiers that fetch as they should; look again then",
            trust.until
        ),
        about_key("incident", incident, ""),
    )
}

/// A command about the key. A kid may be `--all`, which must not be taken for the option: then what follows
/// `--` is none.
fn about_key(act: &str, incident: &Incident, options: &str) -> String {
    let (keyset, kid) = (incident.keyset.as_str(), typed(incident));
    if [keyset, &kid].into_iter().any(is_like_an_option) {
        format!("jwksd keys {act}{options} -- {keyset} {kid}")
    } else {
        format!("jwksd keys {act} {keyset} {kid}{options}")
    }
}

/// A kid that jwksd made may begin with a hyphen too, and is longer than any option: it is taken as it is.
fn is_like_an_option(name: &str) -> bool {
    name.starts_with('-') && name.len() < LONGER_THAN_OPTIONS
}

/// The kid as a shell takes it for itself.
fn typed(incident: &Incident) -> String {
    let kid = incident.kid.as_str();
    if kid.starts_with('~') { format!("'{kid}'") } else { kid.to_owned() }
}

/// Names with their numbers of tokens.
fn sentence(names: &[IncidentUse], others: u64) -> Option<String> {
    let of_name = |of: &IncidentUse| {
        let name = of.name.as_deref().unwrap_or("none");
        format!("{name} ({}, until {})", of.tokens, of.last_expiry)
    };
    let mut parts: Vec<String> = names.iter().take(MOST_IN_A_SENTENCE).map(of_name).collect();
    if parts.is_empty() {
        return None;
    }
    let rest = names.len().saturating_sub(MOST_IN_A_SENTENCE);
    if rest > 0 || others > 0 {
        parts.push("and others".to_owned());
    }
    Some(parts.join(", "))
}

fn step(what: impl Into<String>, command: impl Into<String>) -> IncidentStep {
    IncidentStep { what: what.into(), command: Some(command.into()) }
}

fn said(what: String) -> IncidentStep {
    IncidentStep { what, command: None }
}
