//! Durations as people write them: `30s`, `15m`, `1h30m`, `24h`, `7d`, or whole seconds.

use std::time::Duration;

/// Not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration: write it like \"30s\", \"15m\", \"1h30m\", \"24h\" or \"7d\"")]
pub struct DurationError;

/// Parses a sequence of numbers with units, largest unit first. A bare number is refused: whether
/// it means seconds or milliseconds should not be a guess.
///
/// # Errors
///
/// [`DurationError`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut total: u64 = 0;
    let mut next_unit = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(DurationError)?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let index = UNITS.iter().position(|(name, _)| *name == unit).ok_or(DurationError)?;
        if index < next_unit {
            return Err(DurationError);
        }
        next_unit = index + 1;
        let number: u64 = number.parse().map_err(|_| DurationError)?;
        let millis = number.checked_mul(UNITS[index].1).ok_or(DurationError)?;
        total = total.checked_add(millis).ok_or(DurationError)?;
        rest = after;
    }
    if text.is_empty() { Err(DurationError) } else { Ok(Duration::from_millis(total)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jwksd_keystore::facts::Span;
    use proptest::prelude::*;

    #[test]
    fn what_people_write_is_read() {
        let millis = |text| parse(text).map(|span| span.as_millis());
        assert_eq!(millis("30s"), Ok(30_000));
        assert_eq!(millis("1h30m"), Ok(5_400_000));
        assert_eq!(millis("7d"), Ok(604_800_000));
        assert_eq!(millis("0s"), Ok(0));
        assert_eq!(millis("250ms"), Ok(250));
    }

    #[test]
    fn what_could_mean_several_things_is_refused() {
        let wrong = [
            "",
            "30",
            "30m1h",
            "1m1m",
            "1.5h",
            "-1s",
            "1 h",
            "h",
            "1w",
            "s5",
            "99999999999999999999s",
        ];
        for text in wrong {
            assert_eq!(parse(text), Err(DurationError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_duration_that_we_print_is_read_back(millis in 0u64..100_000_000_000) {
            let span = Duration::from_millis(millis);
            prop_assert_eq!(parse(&Span(span).to_string()), Ok(span));
        }
    }
}
