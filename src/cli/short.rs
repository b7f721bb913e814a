//! Kids in as few letters as tell them apart.

use std::collections::{BTreeMap, BTreeSet};

use jwksd_keystore::id::KeyId;

use super::look::Look;

/// The fewest letters of a kid that are shown.
const FEWEST: usize = 8;

/// The most before the end of a kid is shown instead of its middle.
const MOST: usize = 20;

/// How many of its first letters are shown then.
const HEAD: usize = 6;

/// What is shown of kids.
pub(super) struct Kids(BTreeMap<KeyId, String>);

impl Kids {
    /// Of all these together.
    pub(super) fn of<'a>(kids: impl IntoIterator<Item = &'a KeyId>, look: Look) -> Self {
        let kids: BTreeSet<&KeyId> = kids.into_iter().collect();
        let beginning = |letters: usize| move |kid: &KeyId| cut(kid.as_str(), letters, 0, look);
        let ends = |letters: usize| move |kid: &KeyId| cut(kid.as_str(), HEAD, letters, look);
        let found = (FEWEST..=MOST).find_map(|letters| apart(&kids, beginning(letters)));
        let found = found.or_else(|| (2..=MOST).find_map(|letters| apart(&kids, ends(letters))));
        let whole = |kid: &&KeyId| ((*kid).clone(), kid.to_string());
        Self(found.unwrap_or_else(|| kids.iter().map(whole).collect()))
    }

    /// What is shown of a kid.
    pub(super) fn short(&self, kid: &KeyId) -> String {
        self.0.get(kid).cloned().unwrap_or_else(|| kid.to_string())
    }
}

/// What `shown` makes of all kids, if that tells them apart.
fn apart(
    kids: &BTreeSet<&KeyId>,
    shown: impl Fn(&KeyId) -> String,
) -> Option<BTreeMap<KeyId, String>> {
    let all: BTreeMap<KeyId, String> =
        kids.iter().map(|kid| ((*kid).clone(), shown(kid))).collect();
    let unique: BTreeSet<&String> = all.values().collect();
    (unique.len() == all.len()).then_some(all)
}

/// A kid, which is ASCII, without its middle; whole where that saves nothing.
fn cut(kid: &str, head: usize, tail: usize, look: Look) -> String {
    let gap = look.ellipsis();
    if kid.len() <= head + gap.chars().count() + tail {
        return kid.to_owned();
    }
    format!("{}{gap}{}", &kid[..head], &kid[kid.len() - tail..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::look::{Colours, Letters};

    fn shown(kids: &[&str], letters: Letters) -> Vec<String> {
        let look = Look { width: 80, letters, colours: Colours::None };
        let kids: Vec<KeyId> = kids.iter().map(|kid| kid.parse().unwrap()).collect();
        let short = Kids::of(&kids, look);
        kids.iter().map(|kid| short.short(kid)).collect()
    }

    #[test]
    fn kids_are_cut_only_as_far_as_they_differ() {
        let thumbprints = ["kPrK_qmxVWaYVA9wwBF6", "cn-I_WNMClehiVp51i_0"];
        assert_eq!(shown(&thumbprints, Letters::Unicode), ["kPrK_qmx…", "cn-I_WNM…"]);
        assert_eq!(shown(&thumbprints, Letters::Ascii), ["kPrK_qmx..", "cn-I_WNM.."]);
        let named = ["main-2026-01-of-the-shop", "main-2026-02-of-the-shop", "short"];
        assert_eq!(shown(&named, Letters::Unicode), ["main-2026-01…", "main-2026-02…", "short"]);
    }

    #[test]
    fn kids_that_differ_at_their_ends_are_cut_in_the_middle_and_others_not_at_all() {
        let long = "a".repeat(100);
        let ends = [format!("{long}-1"), format!("{long}-2")];
        let ends = [ends[0].as_str(), &ends[1]];
        assert_eq!(shown(&ends, Letters::Unicode), ["aaaaaa…-1", "aaaaaa…-2"]);
        let middle = [format!("{long}1{long}"), format!("{long}2{long}")];
        let kids: Vec<String> = middle.iter().map(|kid| kid[40..160].to_owned()).collect();
        let kids: Vec<&str> = kids.iter().map(String::as_str).collect();
        assert_eq!(shown(&kids, Letters::Unicode), kids);
    }

    #[test]
    fn a_kid_that_looks_like_a_cut_one_is_told_from_it() {
        let kids = ["abcdefgh..", "abcdefghijklm"];
        let shown = shown(&kids, Letters::Ascii);
        assert_ne!(shown[0], shown[1]);
    }
}
