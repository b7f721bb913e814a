//! Durations as people write them in the configuration and in requests.

use jwksd::duration::parse;
use jwksd_keystore::facts::Span;

/// What is read is written in one way, which is read as the same.
///
/// # Panics
///
/// When that does not hold.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(span) = parse(text) else { return };
    let written = Span(span).to_string();
    assert_eq!(parse(&written), Ok(span), "{text:?} is written as {written:?}");
}
