//! The log, on stderr: one line for each event, as text for people or as JSON for a collector.
//! Whatever an event has from others, it stays on its line and controls no terminal.

use std::fmt::{self, Write};

use serde::Deserialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::escape::{InLine, OneValue};

/// `[log]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How a line looks.
    pub format: Format,
    /// From which level on lines are written.
    pub level: Verbosity,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// A JSON object, for a collector.
    Json,
}

/// From which level on lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verbosity {
    /// What failed.
    Error,
    /// And what someone should see to.
    Warn,
    /// And what became of keys and of the daemon.
    #[default]
    Info,
    /// And each token and each refusal.
    Debug,
    /// And what helps to find a fault.
    Trace,
}

/// Who reads stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A person.
    Terminal,
    /// systemd's journal, which notes the time itself, and the level of a line that begins with it
    /// as `<4>` (sd-daemon(3)).
    Journal,
    /// A file, or a program.
    Other,
}

/// Writes the events of this process to stderr from now on. `rust_log` takes the place of the level,
/// where it is one.
///
/// What cannot be written is lost: to tell that would take stderr, and a full disk or a reader that
/// has gone must not end the daemon.
pub fn begin(settings: Settings, reader: Reader, rust_log: Option<&str>) {
    let filter = rust_log.and_then(|text| EnvFilter::try_new(text).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(settings.level.directives()));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(reader == Reader::Terminal)
        .log_internal_errors(false);
    match settings.format {
        Format::Text => log.event_format(Text { reader }).init(),
        Format::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
            // A panic is one event as well, and not lines between them.
            std::panic::set_hook(Box::new(|panic| tracing::error!(event = "panic", "{panic}")));
        }
    }
}

impl Verbosity {
    /// The level, for the daemon and what it is made of. The libraries say little of use above info,
    /// and what `actix_http` has to say is that someone sent what is no HTTP: anyone could fill the log.
    const fn directives(self) -> &'static str {
        match self {
            Self::Error => "error,actix_http=off",
            Self::Warn => "warn,actix_http=off",
            Self::Info => "info,actix_server=warn,actix_http=off",
            Self::Debug => "info,jwksd=debug,jwksd_keystore=debug,actix_server=warn,actix_http=off",
            Self::Trace => "info,jwksd=trace,jwksd_keystore=trace,actix_server=warn,actix_http=off",
        }
    }
}

/// A line for people: time, level, message, then what belongs to it as `name=value`.
struct Text {
    reader: Reader,
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        match self.reader {
            Reader::Journal => write!(line, "<{}>{level:5} ", priority(level))?,
            Reader::Other => {
                SystemTime.format_time(&mut line)?;
                write!(line, " {level:>5} ")?;
            }
            Reader::Terminal => {
                line.write_str("\x1b[2m")?;
                SystemTime.format_time(&mut line)?;
                write!(line, "\x1b[0m \x1b[{}m{level:>5}\x1b[0m ", colour(level))?;
            }
        }
        let mut words = Words::default();
        event.record(&mut words);
        writeln!(line, "{}{}", words.message, words.fields)
    }
}

/// What an event says.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Words {
    fn add(&mut self, field: &Field, value: &str) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{}", InLine(value)),
            name => write!(self.fields, " {name}={}", OneValue(value)),
        };
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// As of syslog (RFC 5424, section 6.2.1).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// As of ECMA-48, section 8.3.117.
fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a reader gets of what is logged meanwhile.
    fn told(reader: Reader, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(reader == Reader::Terminal)
            .event_format(Text { reader })
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_journal_gets_the_level_and_no_second_time() {
        let line = told(Reader::Journal, || tracing::warn!(kid = %"abc", count = 3, "a key"));
        assert_eq!(line, "<4>WARN  a key kid=abc count=3\n");
    }

    #[test]
    fn a_file_gets_the_time_and_no_colours() {
        let line = told(Reader::Other, || tracing::info!(keyset = "default", "a key"));
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!((time.len(), &time[10..11], &time[26..]), (27, "T", "Z"), "{line}");
        assert_eq!(rest, " INFO a key keyset=default\n");
    }

    #[test]
    fn a_terminal_gets_colours_of_ours_and_none_of_others() {
        let line = told(Reader::Terminal, || tracing::error!(reason = "\x1b[8m", "a\x1b[8m"));
        assert!(line.contains("\x1b[31mERROR\x1b[0m a\\u{1b}[8m "), "{line:?}");
        assert!(line.ends_with(" reason=\"\\u{1b}[8m\"\n"), "{line:?}");
    }

    #[test]
    fn nothing_that_others_say_begins_a_line_or_passes_for_a_field() {
        let hostile = "x\n2026-11-22T03:00:00Z  INFO key activated kid=forged";
        let text = told(Reader::Other, || {
            tracing::info!(caller = hostile, path = %hostile, reason = ?hostile, "{hostile}");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let fields = text.split_once(" caller=\"").unwrap().1;
        assert_eq!(fields.matches("\\n2026").count(), 3, "{text}");
        // In quotation marks, so that no reader takes it for a field.
        assert!(
            fields.contains("\" path=\"x\\n") && fields.ends_with("kid=forged\\\"\"\n"),
            "{text}"
        );
    }

    #[test]
    fn every_level_is_a_filter_that_the_library_takes() {
        for level in ["error", "warn", "info", "debug", "trace"] {
            let settings: Settings = toml::from_str(&format!("level = \"{level}\"")).unwrap();
            assert!(EnvFilter::try_new(settings.level.directives()).is_ok(), "{level}");
        }
        assert!(toml::from_str::<Settings>("level = \"loud\"").is_err());
    }
}
