//! What the documents say to type is what the command line takes.

use crate::place::Place;

/// All in which commands stand within a sentence.
const DOCUMENTS: [&str; 8] = [
    include_str!("../../README.md"),
    include_str!("../../config.toml"),
    include_str!("../../docs/jwks-file.md"),
    include_str!("../../docs/monitoring.md"),
    include_str!("../../docs/monitoring/alerts.yml"),
    include_str!("../../docs/moving-a-static-key.md"),
    include_str!("../../docs/operations.md"),
    include_str!("../../docs/verifiers.md"),
];

/// Where alerts put in the name of a key set.
const KEYSET: [&str; 2] =
    ["{{ $labels.keyset }}", "{{ with $labels.keyset }}{{ . }}{{ else }}SET{{ end }}"];

/// The commands between backticks.
fn commands(document: &str) -> Vec<Vec<String>> {
    let document = KEYSET.iter().fold(document.to_owned(), |text, it| text.replace(it, "default"));
    let quoted = document.split('`').skip(1).step_by(2).map(str::to_owned);
    let commands = quoted.filter_map(|text| Some(text.strip_prefix("jwksd ")?.to_owned()));
    commands.map(|text| text.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn every_command_that_a_document_names_is_one_that_is_taken() {
    let (place, mut count) = (Place::new(), 0);
    for command in DOCUMENTS.into_iter().flat_map(commands) {
        // Without a configuration nothing is begun.
        let words = ["--config", "none.toml"].into_iter().chain(command.iter().map(String::as_str));
        let told = place.run(&words.collect::<Vec<_>>()).stderr;
        for refusal in ["unexpected argument", "unrecognized subcommand"] {
            assert!(!told.contains(refusal), "jwksd {}: {told}", command.join(" "));
        }
        count += 1;
    }
    assert!(count > 30, "only {count} commands were found");
}
