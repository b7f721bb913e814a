//! Which verifiers refuse tokens of the key that signs and of those to come, under the timeline of a key set.

use jwksd::api::plan::{PlannedKeyset, RefusingVerifiers};

use super::look::Look;
use super::print::{first, seconds, table_within};
use super::short::Short;
use super::timeline::called;

/// How many verifiers of a row are named where nobody asked for them.
const FEW: usize = 3;

/// A row for those that refuse equally long; nothing where none do and nobody asked.
pub(super) fn text(keyset: &PlannedKeyset, is_asked: bool, kids: &Short, look: Look) -> String {
    if keyset.refusing.is_empty() {
        let none = "  no verifier refuses tokens of the key that signs or of those to come\n";
        return if is_asked { none.to_owned() } else { String::new() };
    }
    let row = |refusing: &RefusingVerifiers| {
        let until = |until: &Option<String>| {
            until.as_deref().map_or_else(|| "restarted".to_owned(), seconds)
        };
        vec![
            called(refusing.number, refusing.kid.as_ref(), keyset, kids),
            until(&refusing.until),
            until(&refusing.until_behind_cache),
            first(&refusing.verifiers, if is_asked { usize::MAX } else { FEW }),
        ]
    };
    let rows: Vec<Vec<String>> = keyset.refusing.iter().map(row).collect();
    let head = ["KEY", "REFUSED UNTIL", "BEHIND A CDN", "BY VERIFIERS"];
    format!("\n{}", table_within(look.width, &head, &rows))
}
