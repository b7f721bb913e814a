//! docs/verifiers.md: what is in its tables is what the catalogue and the rules say.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use jwksd::config::{Config, Keyset};
use jwksd::verifiers::{
    AtJwt, Cache, Catalogue, Changes, Client, Keeps, KeyKind, Lasting, Lastings, Measured, OldKid,
    OnFailure, Seconds, Source, Unit, UnknownKid, least_verifier_cache,
};
use jwksd_keystore::facts::{Facts, Span};

use crate::app::START;

const PAGE: &str = include_str!("../../docs/verifiers.md");

#[test]
fn the_page_about_verifiers_says_what_the_catalogue_and_the_rules_say() {
    let catalogue = Catalogue::built_in();
    let config = Config::parse(include_str!("../../config.toml"), Path::new("config.toml"), START);
    let keyset = config.unwrap().keysets.into_values().next().unwrap();
    let mut fresh = PAGE.to_owned();
    for (name, text) in [
        ("least", tiers(&catalogue, &keyset.facts)),
        ("verifiers", find_yours(&catalogue, &keyset)),
        ("keys", kinds_of_keys(&catalogue)),
        ("details", details(&catalogue)),
        ("measured", measured(&catalogue)),
    ] {
        replace(&mut fresh, name, &text);
    }
    if fresh != PAGE {
        let path = format!("{}/verifiers.md", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&path, fresh).unwrap();
        let committed = format!("{}/docs/verifiers.md", env!("CARGO_MANIFEST_DIR"));
        panic!("the page is stale; look at the difference, then\ncp {path} {committed}");
    }
}

/// Puts a text between the two marks of a section.
fn replace(page: &mut String, name: &str, text: &str) {
    let begins = format!("<!-- {name}: made from src/verifiers/catalogue.toml -->\n");
    let start = page.find(&begins).unwrap_or_else(|| panic!("{begins} is gone")) + begins.len();
    let ends = format!("<!-- end of {name} -->");
    let end = start + page[start..].find(&ends).unwrap_or_else(|| panic!("{ends} is gone"));
    page.replace_range(start..end, &format!("\n{text}\n"));
}

/// The verifiers by the `verifier_cache` that does for them.
fn tiers(catalogue: &Catalogue, facts: &Facts) -> String {
    let mut tiers: BTreeMap<Option<Duration>, Vec<&str>> = BTreeMap::new();
    for client in &catalogue.clients {
        if let Some(cache) = &client.cache {
            let least = least_verifier_cache(cache, facts);
            tiers.entry(least).or_default().push(&client.name);
        }
    }
    let mut text = "| `verifier_cache` of at least | does for |\n|---|---|\n".to_owned();
    for (least, names) in tiers {
        let least = match least {
            None => "none does: restart them".to_owned(),
            Some(Duration::ZERO) => "any".to_owned(),
            Some(least) => Span(least).to_string(),
        };
        writeln!(text, "| {least} | {} |", names.join(", ")).unwrap();
    }
    text
}

/// A table for each platform, with what each verifier does under the default configuration.
fn find_yours(catalogue: &Catalogue, keyset: &Keyset) -> String {
    let facts = &keyset.facts;
    let mut text = String::new();
    let mut platform = None;
    for client in &catalogue.clients {
        if platform != Some(client.platform) {
            platform = Some(client.platform);
            let name = client.platform.name();
            let heading = if name == "proxy" { "Proxies, gateways, web servers" } else { name };
            let gap = if text.is_empty() { "" } else { "\n" };
            writeln!(text, "{gap}### {heading}\n").unwrap();
            text += "| verifier | id | keeps | with a kid that it has not got | a key that signs at once is \
                     refused | a revoked key is taken | see to |\n|---|---|---|---|---|---|---|\n";
        }
        let cells = match &client.cache {
            Some(cache) => {
                let changes = Changes::of(cache, facts);
                let [at_once, revoked] = [changes.at_once, changes.revocation].map(lastings);
                format!("{} | {} | {at_once} | {revoked}", keeps(cache), unknown_kid(cache))
            }
            None => "as its caller does | | | ".to_owned(),
        };
        let see_to = see_to(client, facts);
        writeln!(text, "| {} | `{}` | {cells} | {see_to} |", client.name, client.id).unwrap();
    }
    text
}

fn keeps(cache: &Cache) -> String {
    let keeps = match cache.keeps {
        Keeps::Nothing => "nothing".to_owned(),
        Keeps::For(span) => Span(span).to_string(),
        Keeps::MaxAge => "`max-age`".to_owned(),
        Keeps::Process => "until restarted".to_owned(),
    };
    match cache.unit {
        Unit::Set => keeps,
        Unit::Kid => format!("{keeps}, key by key"),
    }
}

fn unknown_kid(cache: &Cache) -> String {
    match cache.unknown_kid {
        UnknownKid::Refuses => "refuses".to_owned(),
        UnknownKid::NotKnown => "not known, taken for: refuses".to_owned(),
        UnknownKid::Fetches => "fetches".to_owned(),
        UnknownKid::FetchesUnlessMissed(pause) => {
            format!("fetches; after a miss not for {}", Span(pause))
        }
        UnknownKid::FetchesAtMost { times, per } => {
            format!("fetches, {times} times in {}", Span(per))
        }
        UnknownKid::FetchesAfter(pause) => {
            format!("fetches, not within {} of the last time", Span(pause))
        }
        UnknownKid::FetchesBeforeExpiry(rest) => {
            format!("fetches in the last {} of `max-age`", Span(rest))
        }
    }
}

/// For how long; in brackets, behind a shared cache.
fn lastings(Lastings { direct, shared_cache }: Lastings) -> String {
    let text = |lasting| match lasting {
        Lasting::NotAtAll => "no".to_owned(),
        Lasting::For(span) => Span(span).to_string(),
        Lasting::UntilUnknownKid => "until a kid comes that it has not got".to_owned(),
        Lasting::UntilRestart => "until restarted".to_owned(),
    };
    if direct == shared_cache {
        return text(direct);
    }
    format!("{} ({})", text(direct), text(shared_cache))
}

/// What its operator, or that of jwksd, has to see to.
fn see_to(client: &Client, facts: &Facts) -> String {
    let mut all = Vec::new();
    let least = client.cache.as_ref().map(|cache| least_verifier_cache(cache, facts));
    match least {
        Some(None) => all.push("restart it after each publication".to_owned()),
        Some(Some(least)) if least > Duration::ZERO => {
            all.push(format!("`verifier_cache` of at least {}", Span(least)));
        }
        Some(Some(_)) | None => {}
    }
    if !client.chokes_on.is_empty() {
        let kinds: Vec<&str> = client.chokes_on.iter().map(|kind| kind.name()).collect();
        all.push(format!("no {} keys", kinds.join(", ")));
    }
    match client.at_jwt {
        AtJwt::Takes => {}
        AtJwt::Refuses => all.push("no tokens with `typ` `at+jwt`".to_owned()),
        AtJwt::Requires => all.push("only tokens with `typ` `at+jwt`".to_owned()),
    }
    if let Some(most) = client.cache.as_ref().and_then(|cache| cache.most_keys) {
        all.push(format!("at most {most} keys with live tokens"));
    }
    all.join("; ")
}

/// Who refuses the whole set.
fn kinds_of_keys(catalogue: &Catalogue) -> String {
    let mut text = "| keys | verifiers that refuse the whole JWK Set |\n|---|---|\n".to_owned();
    for kind in KeyKind::ALL {
        let clients = catalogue.clients.iter();
        let names = clients.filter(|client| client.chokes_on.contains(&kind));
        let names: Vec<&str> = names.map(|client| client.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        writeln!(text, "| {} | {names} |", kind.name()).unwrap();
    }
    text
}

fn details(catalogue: &Catalogue) -> String {
    let mut text =
        "| verifier | versions | known by | when the set cannot be fetched | its time-out | its \
                    setting | else |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for client in &catalogue.clients {
        let source = match client.source {
            Source::Measured => "measuring",
            Source::Source => "its source",
            Source::Docs => "its documents",
        };
        let on_failure = client.cache.as_ref().map_or_else(String::new, on_failure);
        writeln!(
            text,
            "| {} | {} | {source} | {on_failure} | {} | {} | {} |",
            client.name,
            client.versions,
            client.time_out,
            settings(client),
            notes(client).join(". "),
        )
        .unwrap();
    }
    text
}

fn on_failure(cache: &Cache) -> String {
    match cache.on_failure {
        OnFailure::Expires if cache.keeps == Keeps::Nothing => "refuses at once".to_owned(),
        OnFailure::Expires => "refuses when its copy is too old".to_owned(),
        OnFailure::Keeps => "goes on".to_owned(),
        OnFailure::Lasts(span) => format!("refuses {} after the last fetch", Span(span)),
        OnFailure::Longer(span) => format!("goes on for {} more", Span(span)),
    }
}

fn settings(client: &Client) -> String {
    let settings = [&client.setting, &client.keys_setting].into_iter();
    let settings: Vec<String> = settings
        .filter(|setting| !setting.is_empty())
        .map(|setting| format!("`{setting}`"))
        .collect();
    settings.join(", ")
}

fn notes(client: &Client) -> Vec<String> {
    let mut notes = client.demands.clone();
    if let Some(most) = client.body_limit {
        notes.push(format!("It reads {most} bytes"));
    }
    if let Some(cache) = &client.cache {
        if let Some(span) = cache.results {
            notes.push(format!("A token that it has seen passes for {} more", Span(span)));
        }
        if let Some(header) = &cache.conditional {
            notes.push(format!("It sends `{header}`, which jwksd ignores"));
        }
    }
    notes
}

fn measured(catalogue: &Catalogue) -> String {
    let mut text = "| verifier | signed at once: refused | after a premature token | revoked: taken | old kid \
                    after a new one | set cannot be fetched: lasts |\n|---|---|---|---|---|---|\n"
        .to_owned();
    let rows = catalogue.clients.iter();
    for (client, of) in rows.flat_map(|client| client.measured.iter().map(move |of| (client, of))) {
        let old = match of.old_after_new {
            OldKid::Accepted => "taken",
            OldKid::Rejected => "refused",
        };
        let [at_once, premature, revoked, down] =
            [of.at_once, of.premature, of.revoked, of.down].map(seconds);
        let name = format!("{}{}", client.name, conditions(of));
        writeln!(text, "| {name} | {at_once} | {premature} | {revoked} | {old} | {down} |")
            .unwrap();
    }
    text
}

fn conditions(of: &Measured) -> String {
    let max_age = of.max_age.map(|span| format!(", `max-age` {}", Span(span)));
    let keeps = of.keeps.map(|span| format!(", set to keep {}", Span(span)));
    max_age.into_iter().chain(keeps).collect()
}

fn seconds(seconds: Seconds) -> String {
    match seconds {
        Seconds::Exactly(seconds) => seconds.to_string(),
        Seconds::MoreThan(seconds) => format!("> {seconds}"),
    }
}
