//! PURE: text of others, such that it stays on its line and controls no terminal.

use std::fmt::{self, Write};

/// Text of which every control character, line separator and invisible character is written as an
/// escape such as `\n` or `\u{202e}`. All else stays, quotation marks and backslashes too.
#[derive(Clone, Copy, Debug)]
pub struct InLine<'a>(pub &'a str);

impl fmt::Display for InLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '"' | '\'' | '\\' => f.write_char(c)?,
                c => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// A value beside others: as it is where that is one plain word, else in quotation marks, with
/// escapes. Whatever it holds, it cannot pass for something that follows it.
#[derive(Clone, Copy, Debug)]
pub struct OneValue<'a>(pub &'a str);

impl fmt::Display for OneValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: u8| c.is_ascii_graphic() && !matches!(c, b'"' | b'\'' | b'\\' | b'=');
        if !self.0.is_empty() && self.0.bytes().all(is_plain) {
            f.write_str(self.0)
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_begin_a_line_or_control_a_terminal_is_escaped() {
        let hostile =
            "a\nb\r\u{1b}[2Jc\u{7f}\u{85}\u{9b}31m\u{2028}\u{202e}d\u{200b}e\u{feff}\u{2066}\0";
        let told = InLine(hostile).to_string();
        let escaped =
            r"a\nb\r\u{1b}[2Jc\u{7f}\u{85}\u{9b}31m\u{2028}\u{202e}d\u{200b}e\u{feff}\u{2066}\0";
        assert_eq!(told, escaped);
        assert!(!OneValue(hostile).to_string().contains(char::is_control));
    }

    #[test]
    fn what_people_read_stays_as_it_is() {
        for text in ["", "keysets.a: there is no \"b\"", "C:\\d", "Käse 😀 'x'"] {
            assert_eq!(InLine(text).to_string(), text);
        }
    }

    #[test]
    fn a_value_is_quoted_unless_it_is_one_word() {
        for (value, told) in [
            ("NzbLsXh8-6_9Xs", "NzbLsXh8-6_9Xs"),
            ("2026-11-22T03:00:00Z", "2026-11-22T03:00:00Z"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("x kid=y", "\"x kid=y\""),
            ("a\"b", r#""a\"b""#),
            ("a=b", "\"a=b\""),
        ] {
            assert_eq!(OneValue(value).to_string(), told);
        }
    }
}
