//! What a revocation means: beforehand, right after it, and later.

use std::io::Write;

use jwksd::api::{
    Incident, IncidentExport, IncidentFetchers, IncidentStep, IncidentUse, IncidentVerifiers,
    KeyState, KeysetIncident, RevokeResponse, Revoking,
};
use jwksd::client::Client;
use jwksd_keystore::id::{KeyId, KeysetName};
use serde::Serialize;

use super::look::Look;
use super::print::{counted, inert, inert_within, seconds, table, wrapped};
use super::{Out, ask, print};

/// How many callers, and how many audiences, are shown to people.
const MOST_SHOWN: usize = 20;

/// How many verifiers are named that do equally well.
const MOST_NAMED: usize = 12;

/// How much is shown of a name that someone else chose.
const LONGEST_NAME: usize = 120;

/// What is known of a key, or of all keys of a set.
#[derive(Serialize)]
#[serde(untagged)]
enum Report {
    Key(Box<Incident>),
    Keyset(KeysetIncident),
}

/// An answer to a revocation with what is known of its keys; nothing where that could not be had.
#[derive(Serialize)]
struct Revoked<'a> {
    #[serde(flatten)]
    answer: &'a RevokeResponse,
    incident: Option<Report>,
}

/// Shows what is known.
pub(super) fn run(
    client: &Client,
    keyset: &KeysetName,
    kid: Option<&KeyId>,
    out: &Out,
) -> anyhow::Result<()> {
    out.print(&report(client, keyset, kid)?, |report| report_text(report, width()))
}

/// Shows what a revocation would do, and changes nothing.
pub(super) fn rehearse(
    client: &Client,
    keyset: &KeysetName,
    kid: Option<&KeyId>,
    out: &Out,
) -> anyhow::Result<()> {
    out.print(&report(client, keyset, kid)?, |report| {
        format!("this is a rehearsal: nothing was changed\n\n{}", report_text(report, width()))
    })
}

/// Shows that keys are revoked, at once; then what is known of them, which takes longer, and without
/// which they are revoked all the same.
pub(super) fn after(
    client: &Client,
    kid: Option<&KeyId>,
    answer: &RevokeResponse,
    out: &Out,
) -> anyhow::Result<()> {
    if !out.json {
        print(&revoke_text(answer))?;
    }
    let known = report(client, &answer.keyset, kid);
    if let Err(error) = &known {
        let asked = kid.map_or_else(String::new, |kid| format!(" {kid}"));
        // A closed stderr leaves no way to tell.
        let _ = writeln!(
            std::io::stderr(),
            "jwksd: the revocation holds; what there is to know of it could not be had: {error:#}\n\
             ask again: jwksd keys incident {}{asked}",
            answer.keyset
        );
    }
    let incident = known.ok().map(|report| report.of(&answer.revoked));
    if out.json {
        return out.print(&Revoked { answer, incident }, |_| String::new());
    }
    incident.map_or(Ok(()), |incident| print(&format!("\n{}", report_text(&incident, width()))))
}

fn report(client: &Client, keyset: &KeysetName, kid: Option<&KeyId>) -> anyhow::Result<Report> {
    Ok(match kid {
        Some(kid) => {
            let path = format!("/v1/keysets/{keyset}/keys/{kid}/incident");
            Report::Key(ask(client.get(&path))?)
        }
        None => Report::Keyset(ask(client.get(&format!("/v1/keysets/{keyset}/incident")))?),
    })
}

impl Report {
    /// Only what is about these keys, which are revoked.
    fn of(self, revoked: &[KeyId]) -> Self {
        match self {
            Self::Key(_) => self,
            Self::Keyset(KeysetIncident { keyset, keys, .. }) => {
                let keys = keys.into_iter().filter(|key| revoked.contains(&key.kid)).collect();
                Self::Keyset(KeysetIncident { keyset, revoking: None, keys })
            }
        }
    }
}

fn revoke_text(answer: &RevokeResponse) -> String {
    let kids: Vec<&str> = answer.revoked.iter().map(KeyId::as_str).collect();
    let already = if answer.already { " (was so before)" } else { "" };
    let active = answer.active.as_ref().map_or("no key signs", KeyId::as_str);
    let mut text = format!(
        "{}: revoked {}{already}\nactive now: {active}\nverifiers that cached the JWK Set may trust \
         revoked keys until {}, some of them longer\n",
        answer.keyset,
        kids.join(", "),
        answer.trusted_until,
    );
    if !answer.exported.is_empty() {
        let kids: Vec<&str> = answer.exported.iter().map(KeyId::as_str).collect();
        text += &format!(
            "warning: {} was exported: take it out by hand wherever it was put, since nothing else \
             does\n",
            kids.join(", ")
        );
    }
    if let Some(file) = &answer.still_in {
        text += &format!(
            "warning: {file} may publish revoked keys still: take it away by hand, or see to what \
             `jwksd status` says of it\n"
        );
    }
    text
}

/// How many columns there are.
fn width() -> usize {
    Look::of_stdout().width
}

fn report_text(report: &Report, width: usize) -> String {
    match report {
        Report::Key(incident) => key_text(incident, width),
        Report::Keyset(of_set) => keyset_text(of_set, width),
    }
}

/// Key by key what is known; then what is about all of them, once.
fn keyset_text(of_set: &KeysetIncident, width: usize) -> String {
    let KeysetIncident { keyset, keys, revoking } = of_set;
    if keys.is_empty() {
        return format!("key set {keyset} has no key, and none that is trusted still\n");
    }
    let known = |key: &Incident, before| known_text(key, before, width) + "\n";
    let before = std::iter::once(None).chain(keys.iter().map(Some));
    let mut text: String =
        keys.iter().zip(before).map(|(key, before)| known(key, before)).collect();
    if let Some(revoking) = revoking {
        let command = format!("jwksd keys revoke {keyset} --all --reason \"stolen\"");
        text += &format!("if all keys of {keyset} are revoked now\n  {command}\n");
        text += &revoking_text(revoking, width);
        text += "\n";
    }
    text + &steps_of_all(keys, width)
}

fn key_text(incident: &Incident, width: usize) -> String {
    let mut text = known_text(incident, None, width);
    if let Some(revoking) = &incident.revoking {
        text += "\nif it is revoked now\n";
        text += &revoking_text(revoking, width);
    }
    text + "\nwhat to do\n" + &steps_text(incident.steps.iter(), width)
}

/// What is known of a key that is told after that of another.
fn known_text(incident: &Incident, before: Option<&Incident>, width: usize) -> String {
    let mut text = format!("key {} of key set {}\n", incident.kid, incident.keyset);
    for (name, value) in facts(incident, before) {
        text += &hanging(&format!("  {name:<13}  "), &value, width);
    }
    let tokens = &incident.tokens;
    text += &uses("CALLER", &tokens.callers, tokens.for_other_callers);
    text += &uses("AUDIENCE", &tokens.audiences, tokens.for_other_audiences);
    text
}

/// What to do about all keys of a set: what is the same for all once, then the rest key by key. That one
/// of them alone could be revoked is not said.
fn steps_of_all(keys: &[Incident], width: usize) -> String {
    let is_of_all = |step: &&IncidentStep| keys.iter().all(|key| key.steps.contains(*step));
    let all = keys.first().into_iter().flat_map(after_revocation).filter(is_of_all);
    let mut text = "what to do\n".to_owned() + &steps_text(all, width);
    for key in keys {
        let own = steps_text(after_revocation(key).filter(|step| !is_of_all(step)), width);
        if !own.is_empty() {
            text += &format!("\nand about {}\n{own}", key.kid);
        }
    }
    text
}

/// The steps but those that revoke the key.
fn after_revocation(key: &Incident) -> impl Iterator<Item = &IncidentStep> {
    let revokes = |command: &String| command.starts_with("jwksd keys revoke ");
    key.steps.iter().filter(move |step| !step.command.as_ref().is_some_and(revokes))
}

fn steps_text<'a>(steps: impl Iterator<Item = &'a IncidentStep>, width: usize) -> String {
    let mut text = String::new();
    for (index, IncidentStep { what, command }) in steps.enumerate() {
        text += &hanging(&format!("  {}. ", index + 1), &inert(what), width);
        if let Some(command) = command {
            text += &format!("       {}\n", inert(command));
        }
    }
    text
}

/// A text on as many lines as it takes, each below the first's beginning.
fn hanging(begin: &str, text: &str, width: usize) -> String {
    let indent = begin.chars().count();
    let lines = wrapped(text, width.saturating_sub(indent));
    format!("{begin}{}\n", lines.join(&format!("\n{:indent$}", "")))
}

/// What is known of a key, a line each.
fn facts(incident: &Incident, before: Option<&Incident>) -> Vec<(&'static str, String)> {
    let Incident { trust, backups, .. } = incident;
    let mut facts = vec![("state", state(incident)), ("signed", signed(incident))];
    if incident.signed_from.is_some() {
        facts.push(("tokens", tokens(incident)));
    }
    if let Some(latest) = &incident.tokens.last_possible_expiry {
        facts.push((
            "good until",
            format!("{} at the latest, if jwksd signed them", seconds(latest)),
        ));
    }
    let until = seconds(&trust.until);
    let from = if incident.left.is_some() { "" } else { ", if it leaves the JWK Set now" };
    facts.push(("trusted until", format!("{until} by verifiers that cache as configured{from}")));
    if before.is_some_and(|before| verifiers(before) == verifiers(incident)) {
        facts.push(("", "by each verifier for as long as above".to_owned()));
    } else {
        facts.extend(verifiers(incident));
    }
    if let Some(fetchers) = &trust.fetchers {
        let IncidentFetchers { holding, known, since, .. } = fetchers;
        let of = format!("{holding} of {known} seen since {} have it", seconds(since));
        facts.push(("fetchers", of));
    }
    if let Some(file) = &trust.still_in {
        facts.push(("still in", inert(file)));
    }
    facts.push(("exported", exported(incident)));
    let last = backups.last.as_deref().map(|at| format!(", the last at {}", seconds(at)));
    let count = if backups.count == 0 { "none".to_owned() } else { backups.count.to_string() };
    let backups = format!("{count} that the audit knows{}", last.unwrap_or_default());
    facts.push(("backups", backups));
    facts.extend(audit(incident));
    facts
}

fn state(incident: &Incident) -> String {
    let state = match incident.state {
        KeyState::Pending => "pending: published, and does not sign yet",
        KeyState::Active => "active: it signs",
        KeyState::VerifyOnly => "verify-only: published, and signs no more",
        KeyState::Retired => "retired",
        KeyState::Revoked => "revoked",
    };
    let left = incident.left.as_deref().map(|at| format!(", left the JWK Set at {}", seconds(at)));
    let reason = incident.reason.as_deref().map(|reason| format!(" ({})", inert(reason)));
    format!("{state}{}{}", left.unwrap_or_default(), reason.unwrap_or_default())
}

fn signed(incident: &Incident) -> String {
    let Some(from) = &incident.signed_from else { return "never".to_owned() };
    let until = incident.signed_until.as_deref().map_or_else(|| "now".to_owned(), seconds);
    format!("from {} until {until}", seconds(from))
}

fn tokens(incident: &Incident) -> String {
    let tokens = &incident.tokens;
    let at_least = if incident.audit.complete { "" } else { "at least " };
    let mut text = format!("{at_least}{}", counted(tokens.count, "token"));
    if let (Some(first), Some(last), Some(expiry)) =
        (&tokens.first, &tokens.last, &tokens.last_expiry)
    {
        text += &format!(
            " from {} to {}; {} not expired, the last expires at {}",
            seconds(first),
            seconds(last),
            tokens.unexpired,
            seconds(expiry)
        );
    }
    text
}

/// The verifiers that are known to trust it for longer than others, and how many do for how long.
fn verifiers(incident: &Incident) -> Vec<(&'static str, String)> {
    let of_group = |group: &IncidentVerifiers| {
        let IncidentVerifiers { lasts, until, names } = group;
        let until = until.as_deref().map(|at| format!(", to {}", seconds(at)));
        let names = match names.len() {
            0..=MOST_NAMED => inert(&names.join(", ")),
            many => format!("{many} of those that are known (--json names them)"),
        };
        ("", format!("{lasts}{}: {names}", until.unwrap_or_default()))
    };
    incident.trust.verifiers.iter().map(of_group).collect()
}

fn exported(incident: &Incident) -> String {
    let exports = &incident.exports;
    match (exports.newest.first(), &exports.since) {
        (Some(IncidentExport { at, caller, form }), _) => format!(
            "{}, the last as {} to {} at {}: take it out by hand there",
            counted(exports.count, "time"),
            short(form),
            short(caller),
            seconds(at)
        ),
        (None, Some(since)) => format!("first at {}: take it out by hand there", seconds(since)),
        (None, None) => "never, as far as is known".to_owned(),
    }
}

fn audit(incident: &Incident) -> Vec<(&'static str, String)> {
    let audit = &incident.audit;
    let since = audit.since.as_deref().map(|at| format!(", back to {}", seconds(at)));
    let lines = format!("{} read{}", counted(audit.lines, "line"), since.unwrap_or_default());
    let told = if audit.complete {
        format!("all that it signed is counted ({lines})")
    } else {
        format!("NOT ALL that it signed may be counted ({lines})")
    };
    let gaps = audit.gaps.iter().map(|gap| ("", inert(gap)));
    [("audit", told)].into_iter().chain(gaps).collect()
}

fn revoking_text(revoking: &Revoking, width: usize) -> String {
    let kids: Vec<&str> = revoking.revoked.iter().map(KeyId::as_str).collect();
    let signs = match (&revoking.active, revoking.fresh) {
        (_, true) => "a key that is made then signs".to_owned(),
        (Some(active), false) => format!("{active} signs"),
        (None, false) => "no key signs".to_owned(),
    };
    let [leave, sign, it] =
        if kids.len() == 1 { ["leaves", "signs", "it"] } else { ["leave", "sign", "them"] };
    let (trusted, refused) = (&revoking.trusted_until, &revoking.refused_until);
    let mut said = vec![
        format!("{} {leave} the JWK Set at once, and {sign} no more; {signs}", kids.join(", ")),
        format!(
            "verifiers that cached the JWK Set may trust {it} until {trusted}, some of them longer"
        ),
    ];
    said.extend(refused.as_ref().map(|until| {
        format!(
            "verifiers that have not fetched the JWK Set again may refuse new tokens until {until}"
        )
    }));
    said.iter().map(|line| hanging("  - ", line, width)).collect()
}

fn uses(head: &str, uses: &[IncidentUse], others: u64) -> String {
    let shown = &uses[..uses.len().min(MOST_SHOWN)];
    if shown.is_empty() {
        return String::new();
    }
    let row = |of: &IncidentUse| {
        let name = of.name.as_deref().map_or_else(|| "(none)".to_owned(), short);
        vec![
            of.tokens.to_string(),
            seconds(&of.first),
            seconds(&of.last),
            seconds(&of.last_expiry),
            name,
        ]
    };
    let mut rows: Vec<Vec<String>> = shown.iter().map(row).collect();
    let rest: u64 = uses[shown.len()..].iter().map(|of| of.tokens).sum();
    if rest + others > 0 {
        let dash = || "-".to_owned();
        rows.push(vec![(rest + others).to_string(), dash(), dash(), dash(), "(others)".to_owned()]);
    }
    let table = table(&["TOKENS", "FIRST", "LAST", "LAST EXPIRY", head], &rows);
    format!("\n{table}")
}

/// A name that someone else chose.
fn short(name: &str) -> String {
    inert_within(name, LONGEST_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_sentence_goes_on_below_its_beginning() {
        let text = hanging("  1. ", "one two three four", 14);
        assert_eq!(text, "  1. one two\n     three\n     four\n");
    }
}
