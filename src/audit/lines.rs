//! Lines that are recorded together: handed over once, and to the kernel with one write.

use jwksd_keystore::time::Time;

use super::AuditError;
use super::line::{self, Decision, Line};

/// Lines that are recorded together.
#[derive(Default)]
pub struct Lines {
    /// JSON objects, one after the other.
    objects: Vec<u8>,
    rows: Vec<Row>,
}

pub(super) struct Row {
    /// Where its object ends.
    end: usize,
    /// The caller and when, where it is a refusal.
    pub(super) refused: Option<(String, Time)>,
}

impl Lines {
    /// No lines, with room for so many.
    #[must_use]
    pub fn with_room(count: usize) -> Self {
        let objects = Vec::with_capacity(count * line::USUAL);
        Self { objects, rows: Vec::with_capacity(count) }
    }

    /// Puts a line at the end.
    ///
    /// # Errors
    ///
    /// It cannot be written as JSON, and is not there.
    pub fn push(&mut self, line: &Line<'_>) -> Result<(), AuditError> {
        let before = self.objects.len();
        if let Err(error) = line.object_onto(&mut self.objects) {
            self.objects.truncate(before);
            return Err(AuditError(error.into()));
        }
        let is_refusal = line.decision == Decision::Refused;
        let refused = is_refusal.then(|| (line.caller.to_owned(), line.time));
        self.rows.push(Row { end: self.objects.len(), refused });
        Ok(())
    }

    /// Each line, as a JSON object.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Row, &[u8])> {
        let mut begin = 0;
        self.rows.iter().map(move |row| {
            let object = self.objects.get(begin..row.end).unwrap_or_default();
            begin = row.end;
            (row, object)
        })
    }
}
