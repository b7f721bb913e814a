//! What a configuration means for the verifiers that are known: a few lines for each key set, and
//! a table for who wants to see each.

use std::time::Duration;

use jwksd::config::Keyset;
use jwksd::verifiers::{
    Against, Catalogue, Choke, Client, Effects, Lasting, Lastings, Situation, UnknownVerifier,
    effects, grouped, least_verifier_cache,
};
use jwksd_keystore::facts::Span;
use jwksd_keystore::jwk::JwkSet;
use serde::Serialize;

use super::print::{counted, first, table};

/// How many groups of verifiers are told apart, and how many of each are named.
const FEW: usize = 3;

/// `--verifiers`
#[derive(clap::Args)]
pub(super) struct Asked {
    /// Show what each of these verifiers does when keys change: all, or ids such as
    /// pyjwt,envoy (docs/verifiers.md has them)
    #[arg(long, value_name = "all|NAME,...", value_delimiter = ',')]
    pub(super) verifiers: Option<Vec<String>>,
}

impl Asked {
    pub(super) fn is_asked(&self) -> bool {
        self.verifiers.is_some()
    }

    /// As the daemon is asked, behind other parts of a query.
    ///
    /// # Errors
    ///
    /// Before it is asked, where there is no such verifier.
    pub(super) fn query(&self) -> Result<String, UnknownVerifier> {
        let Some(names) = &self.verifiers else { return Ok(String::new()) };
        Catalogue::built_in().chosen(names)?;
        Ok(format!("&verifiers={}", names.join(",")))
    }

    /// The verifiers that are asked about; without the option those that the key set names, or all.
    fn chosen<'a>(
        &self,
        keyset: &Keyset,
        catalogue: &'a Catalogue,
    ) -> Result<Vec<&'a Client>, UnknownVerifier> {
        catalogue.chosen(self.verifiers.as_ref().unwrap_or(&keyset.verifiers))
    }
}

/// What a configuration means for verifiers.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    /// Of how many this tells.
    count: usize,
    /// Whether they are named in the configuration, or asked about.
    named: bool,
    /// The least `verifier_cache` that does for all of them.
    least_verifier_cache: Option<String>,
    effects: Vec<Effects<'a>>,
    #[serde(skip)]
    max_age: Duration,
}

/// What the configuration of a key set means for the verifiers that are asked about.
pub(super) fn report<'a>(
    keyset: &Keyset,
    args: &Asked,
    catalogue: &'a Catalogue,
) -> Result<Report<'a>, UnknownVerifier> {
    let (facts, checked) = (&keyset.facts, &keyset.checked);
    let situation = Situation {
        facts,
        smallest_gap: checked.smallest_gap,
        live_kids: checked.live_kids,
        bytes: JwkSet::length(facts.algorithm, checked.published_keys() as usize),
        token_types: &keyset.tokens.types,
    };
    let clients = args.chosen(keyset, catalogue)?;
    let caches = clients.iter().filter_map(|client| client.cache.as_ref());
    let least: Option<Vec<_>> = caches.map(|cache| least_verifier_cache(cache, facts)).collect();
    let least = least.and_then(|all| all.into_iter().max());
    Ok(Report {
        count: clients.len(),
        named: clients.len() < catalogue.clients.len(),
        least_verifier_cache: least.map(|least| Span(least).to_string()),
        effects: clients.iter().map(|client| effects(client, &situation)).collect(),
        max_age: facts.jwks_max_age,
    })
}

/// The few lines. How long a key waits reckons with a shared cache; what else it makes longer is
/// told at the end.
pub(super) fn summary(report: &Report<'_>) -> String {
    let of = |effects: &Effects<'_>, against| {
        let changes = effects.changes?;
        Some(match against {
            Against::Rotation => changes.rotation.shared_cache,
            Against::AtOnce => changes.at_once.direct,
            Against::Revocation => changes.revocation.direct,
            Against::Contents => return None,
        })
    };
    let section = |what: &str, does: &str, against| {
        let lasts = |effects: &Effects<'_>| of(effects, against).unwrap_or(Lasting::NotAtAll);
        let groups = lasting(report, lasts);
        let count: usize = groups.iter().map(|(_, members)| members.len()).sum();
        if count == 0 {
            return format!("      {what}: none {does}\n");
        }
        let mut text = format!("      {what}: {count} {does}\n");
        for (lasts, members) in groups.iter().take(FEW) {
            text += &format!("          {lasts}: {}\n", few(members));
        }
        if let [(lasts, _), ..] = &groups[groups.len().min(FEW)..] {
            let rest: usize = groups[FEW..].iter().map(|(_, members)| members.len()).sum();
            text += &format!("          {lasts} or less: {}\n", counted(rest as u64, "other"));
        }
        let told = &groups[..groups.len().min(if against == Against::Rotation { 1 } else { FEW })];
        text + &mending(told.iter().flat_map(|(_, members)| members), against)
    };
    let which = if report.named {
        "named; --verifiers NAME,... shows each"
    } else {
        "known; `verifiers` of the key set names yours, --verifiers all shows each"
    };
    format!("  verifiers  {} {which}\n", report.count)
        + &section("tokens of a key that was published in time", "refuse them", Against::Rotation)
        + &enough(report)
        + &section("tokens of a key that signs at once, by --now", "refuse them", Against::AtOnce)
        + &section("tokens of a key that was revoked", "take them", Against::Revocation)
        + &contents(report)
        + &behind_a_shared_cache(report)
}

/// The `verifier_cache` that does.
fn enough(report: &Report<'_>) -> String {
    let told = |least| format!("          a verifier_cache of {least} does\n");
    report.least_verifier_cache.as_ref().map_or_else(String::new, told)
}

/// Equally long ones together, the longest first; without those where it lasts not at all.
fn lasting<'a, 'r>(
    report: &'r Report<'a>,
    lasts: impl Fn(&Effects<'a>) -> Lasting,
) -> Vec<(Lasting, Vec<&'r Effects<'a>>)> {
    let all = report.effects.iter().map(|effects| (lasts(effects), effects));
    grouped(all.filter(|(lasts, _)| *lasts != Lasting::NotAtAll))
}

fn few(members: &[&Effects<'_>]) -> String {
    let names: Vec<&str> = members.iter().map(|effects| effects.name).collect();
    first(&names, FEW)
}

/// What mends something, said once.
fn mending<'a>(members: impl Iterator<Item = &'a &'a Effects<'a>>, against: Against) -> String {
    let mut said: Vec<&str> = Vec::new();
    for mend in members.flat_map(|effects| &effects.mends) {
        if mend.against == against && !said.contains(&mend.advice.as_str()) {
            said.push(&mend.advice);
        }
    }
    format!("          mend: {}\n", said.join("; "))
}

/// What verifiers cannot live with.
fn contents(report: &Report<'_>) -> String {
    let mut kinds: Vec<(&Choke, &str, Vec<&Effects<'_>>)> = Vec::new();
    for effects in &report.effects {
        let mends = effects.mends.iter().filter(|mend| mend.against == Against::Contents);
        for (choke, mend) in effects.chokes.iter().zip(mends) {
            match kinds.iter_mut().find(|(other, ..)| *other == choke) {
                Some((.., members)) => members.push(effects),
                None => kinds.push((choke, &mend.advice, vec![effects])),
            }
        }
    }
    kinds.sort_by_key(|(choke, ..)| *choke);
    if kinds.is_empty() {
        return "      the JWK Set and its tokens: none choke on them\n".to_owned();
    }
    let line = |(choke, mend, members): &(&Choke, &str, Vec<&Effects<'_>>)| {
        let (count, names) = (members.len(), few(members));
        format!("      {choke} by {count}: {names}\n          mend: {mend}\n")
    };
    kinds.iter().map(line).collect()
}

/// What a shared cache makes longer, and what by more than its own age.
fn behind_a_shared_cache(report: &Report<'_>) -> String {
    let surprising = Lasting::For(report.max_age * 2);
    let surprised = |effects: &Effects<'_>| match effects.changes.map(|changes| changes.at_once) {
        Some(Lastings { direct: Lasting::NotAtAll, shared_cache }) if shared_cache > surprising => {
            shared_cache
        }
        _ => Lasting::NotAtAll,
    };
    let age = Span(report.max_age);
    let mut text =
        format!("      where a cache that others share, such as a CDN, is between: {age} longer\n");
    for (lasts, members) in lasting(report, surprised) {
        let names = few(&members);
        text += &format!("          and a key that signs at once is refused {lasts} by {names}\n");
    }
    text
}

/// The table, one line for each verifier.
pub(super) fn details(report: &Report<'_>) -> String {
    let row = |effects: &Effects<'_>| {
        let mends = effects.mends.iter().filter(|mend| mend.against != Against::AtOnce);
        let mut chokes = effects.chokes.iter();
        let told = mends.map(|mend| match mend.against {
            Against::Contents => match chokes.next() {
                Some(choke) => format!("{choke}: {mend}"),
                None => mend.to_string(),
            },
            Against::Rotation | Against::AtOnce | Against::Revocation => mend.to_string(),
        });
        let told = told.collect::<Vec<_>>().join("; ");
        let cells = match effects.changes {
            Some(changes) => [changes.rotation, changes.at_once, changes.revocation].map(cell),
            None => ["as its caller fetches", "", ""].map(str::to_owned),
        };
        [vec![effects.id.to_owned()], cells.to_vec(), vec![told]].concat()
    };
    let rows: Vec<Vec<String>> = report.effects.iter().map(row).collect();
    let head = ["VERIFIER", "NEW KEY REFUSED", "WITH --now", "REVOKED KEY TAKEN", "MEND"];
    let indented = |line: &str| format!("      {line}\n");
    let lines: String = table(&head, &rows).lines().map(indented).collect();
    format!("  verifiers  {}\n", report.count)
        + &lines
        + "      in brackets: where a cache that others share, such as a CDN, is between\n      \
           a key that is refused with --now: rotate without it\n"
}

/// For how long, and how long behind a shared cache where that is longer.
fn cell(lastings: Lastings) -> String {
    let short = |lasting| match lasting {
        Lasting::NotAtAll => "no".to_owned(),
        Lasting::For(span) => Span(span).to_string(),
        Lasting::UntilUnknownKid => "until unknown kid".to_owned(),
        Lasting::UntilRestart => "until restart".to_owned(),
    };
    let Lastings { direct, shared_cache } = lastings;
    if direct == shared_cache {
        return short(direct);
    }
    format!("{} ({})", short(direct), short(shared_cache))
}
