//! How wide, in which letters and in which colours text for people is printed.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

/// The width without a terminal, and the bounds of any.
const WIDTH: usize = 80;
const NARROWEST: usize = 60;
const WIDEST: usize = 400;

/// How text for people is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// In columns.
    pub(super) width: usize,
    pub(super) letters: Letters,
    pub(super) colours: Colours,
}

/// What the locale can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letters {
    Unicode,
    Ascii,
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Some,
    None,
}

impl Look {
    /// As whoever reads the standard output can take it.
    pub(super) fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        let columns = variable("COLUMNS").and_then(|columns| columns.parse().ok());
        let of_terminal = || terminal_size::terminal_size_of(&stdout);
        let width = columns.or_else(|| of_terminal().map(|(width, _)| usize::from(width.0)));
        let is_plain =
            variable("NO_COLOR").is_some() || variable("TERM").as_deref() == Some("dumb");
        Self {
            width: width.filter(|&width| width > 0).unwrap_or(WIDTH).clamp(NARROWEST, WIDEST),
            letters: letters(&["LC_ALL", "LC_CTYPE", "LANG"].map(variable)),
            colours: if stdout.is_terminal() && !is_plain { Colours::Some } else { Colours::None },
        }
    }

    /// The one of two that the locale can show.
    pub(super) fn either<T>(self, unicode: T, ascii: T) -> T {
        match self.letters {
            Letters::Unicode => unicode,
            Letters::Ascii => ascii,
        }
    }

    /// What stands for what was left out of a name.
    pub(super) fn ellipsis(self) -> &'static str {
        self.either("…", "..")
    }

    /// A text in a style, where there are colours.
    pub(super) fn styled(self, style: Style, text: &str) -> String {
        match self.colours {
            Colours::Some if style != Style::new() => format!("{style}{text}{style:#}"),
            Colours::Some | Colours::None => text.to_owned(),
        }
    }
}

/// A colour as a style.
pub(super) fn coloured(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(colour.into()))
}

/// The first of the variables that is set decides, as in `setlocale(3)`.
fn letters(variables: &[Option<String>]) -> Letters {
    let locale = variables.iter().flatten().next();
    let locale = locale.map(|locale| locale.to_lowercase().replace('-', "")).unwrap_or_default();
    if locale.contains("utf8") { Letters::Unicode } else { Letters::Ascii }
}

#[expect(clippy::disallowed_methods, reason = "the command line may read its environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_of_the_locale_decides() {
        let set = |value: &str| Some(value.to_owned());
        assert_eq!(letters(&[None, None, set("en_US.UTF-8")]), Letters::Unicode);
        assert_eq!(letters(&[set("C"), None, set("en_US.UTF-8")]), Letters::Ascii);
        assert_eq!(letters(&[None, set("C.utf8"), set("C")]), Letters::Unicode);
        assert_eq!(letters(&[None, None, None]), Letters::Ascii);
    }
}
