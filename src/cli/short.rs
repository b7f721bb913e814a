//! Kids, and names of key sets, in as few letters as tell them apart.

use std::collections::{BTreeMap, BTreeSet};

use super::look::Look;

/// The fewest letters of a name that are shown.
const FEWEST: usize = 8;

/// The most before the end of a name is shown instead of its middle.
const MOST: usize = 20;

/// How many of its first letters are shown then.
const HEAD: usize = 6;

/// What is shown of names.
pub(super) struct Short(BTreeMap<String, String>);

impl Short {
    /// Of all these together. They are ASCII, as kids and names of key sets are.
    pub(super) fn of<'a>(names: impl IntoIterator<Item = &'a str>, look: Look) -> Self {
        let names: Vec<&str> = names.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let shown = |tail: usize| {
            let short = |(index, name): (usize, &&str)| {
                let short = match letters_apart(&names, index) {
                    letters if letters > MOST => cut(name, HEAD, tail, look),
                    letters => cut(name, letters.max(FEWEST), 0, look),
                };
                ((*name).to_owned(), short)
            };
            let all: BTreeMap<String, String> = names.iter().enumerate().map(short).collect();
            let unique: BTreeSet<&String> = all.values().collect();
            (unique.len() == all.len()).then_some(all)
        };
        let whole = || names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect();
        Self((2..=MOST).find_map(shown).unwrap_or_else(whole))
    }

    /// What is shown of a name.
    pub(super) fn short(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }
}

/// How many of its first letters tell a name from those before and after it.
fn letters_apart(sorted: &[&str], index: usize) -> usize {
    let name = sorted[index].bytes();
    let neighbours = [index.checked_sub(1), index.checked_add(1)].into_iter().flatten();
    let alike = |other: &&str| name.clone().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    neighbours.filter_map(|index| sorted.get(index)).map(alike).max().map_or(0, |most| most + 1)
}

/// A name without its middle; whole where that saves nothing.
fn cut(name: &str, head: usize, tail: usize, look: Look) -> String {
    let gap = look.ellipsis();
    if name.len() <= head + gap.chars().count() + tail {
        return name.to_owned();
    }
    format!("{}{gap}{}", &name[..head], &name[name.len() - tail..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::look::{Colours, Letters};

    fn shown(kids: &[&str], letters: Letters) -> Vec<String> {
        let look = Look { width: 80, letters, colours: Colours::None };
        let short = Short::of(kids.iter().copied(), look);
        kids.iter().map(|kid| short.short(kid)).collect()
    }

    #[test]
    fn kids_are_cut_only_as_far_as_they_differ() {
        let thumbprints = ["kPrK_qmxVWaYVA9wwBF6", "cn-I_WNMClehiVp51i_0"];
        assert_eq!(shown(&thumbprints, Letters::Unicode), ["kPrK_qmx…", "cn-I_WNM…"]);
        assert_eq!(shown(&thumbprints, Letters::Ascii), ["kPrK_qmx..", "cn-I_WNM.."]);
        let named =
            ["main-2026-01-of-the-shop", "main-2026-02-of-the-shop", "kPrK_qmxVWa", "short"];
        let shown = shown(&named, Letters::Unicode);
        assert_eq!(shown, ["main-2026-01…", "main-2026-02…", "kPrK_qmx…", "short"]);
    }

    #[test]
    fn kids_that_differ_at_their_ends_are_cut_in_the_middle_and_others_not_at_all() {
        let long = "a".repeat(100);
        let ends = [format!("{long}-1"), format!("{long}-2")];
        let ends = [ends[0].as_str(), &ends[1]];
        assert_eq!(shown(&ends, Letters::Unicode), ["aaaaaa…-1", "aaaaaa…-2"]);
        let among = [ends[0], ends[1], "kPrK_qmxVWaYVA9wwBF6"];
        assert_eq!(shown(&among, Letters::Unicode)[2], "kPrK_qmx…");
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
