//! How far a work is, for who waits at a terminal; nothing elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jwksd_keystore::store::{Progress, Stage};

/// A bar on stderr. It is wiped off at the end.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let is_seen = std::io::stderr().is_terminal();
        let target =
            if is_seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos} of {len}");
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// Shows what has no parts to count.
    pub(super) fn say(&self, what: &'static str) {
        self.0.set_message(what);
        self.0.tick();
    }

    /// Shows how far it is.
    pub(super) fn watch(&self) -> impl FnMut(Progress) {
        |progress| {
            let message = match progress.stage {
                Stage::Checking => "checking key sets",
                Stage::Sealing => "sealing key sets",
                Stage::Writing => "writing rows",
                Stage::Ending => "reading it back",
            };
            self.0.set_message(message);
            self.0.set_length(progress.of);
            self.0.set_position(progress.done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
