//! Was anything changed since it was written? Reads all lines and names what was.
//!
//! What a crash leaves at the end of a file is no damage: jwksd resumes after the last line that
//! hangs together, with a mark that nobody else can make, and what lies between is only noted.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use jwksd_keystore::seal::{MasterKeys, SealError};

use super::chain::{Link, Mark, Parsed};
use super::checkpoint::{self, Held, Position};
use super::files;
use super::format::FORMAT;
use super::handover::{self, Handover};
use super::report::{Damage, Finding, Note, Report};
use super::rows::{self, Row};

const NOT_OURS: &str = "it was not written by jwksd, or was changed";

/// How many findings are named one by one.
const NAMED: usize = 1000;

/// Reads all files of the audit at `path`, and the checkpoint beside it.
///
/// # Errors
///
/// When a file cannot be read.
pub fn verify(path: &Path, master_keys: Option<&MasterKeys>) -> io::Result<Report> {
    verify_against(path, Against { master_keys, ..Against::default() })
}

/// What lines are held against.
#[derive(Clone, Copy, Default)]
pub struct Against<'k> {
    /// The master keys; without them only the chain is checked.
    pub master_keys: Option<&'k MasterKeys>,
    /// The keys before the master key was changed. What they made is believed by the change alone; with
    /// them it is checked as well.
    pub former: Option<&'k MasterKeys>,
    /// A line that is looked for.
    pub sought: Option<Link>,
}

/// The same, held against more.
///
/// # Errors
///
/// When a file cannot be read.
pub fn verify_against(path: &Path, against: Against<'_>) -> io::Result<Report> {
    // Before the files: they may grow meanwhile, and must hold at least this.
    let (mut held, mut handover) = (None, None);
    if let Some(keys) = against.master_keys {
        held = Some(checkpoint::read(&checkpoint::path_of(path), keys)?);
        handover = handover::read(path, keys)?;
    }
    let handover = handover.filter(|_| held == Some(Held::Nothing));
    if let Some(handover) = &handover {
        held = Some(Held::Position(handover.position));
    }
    let opened = open_all(path)?;
    read_all(opened, held, handover, against)
}

/// Reads these files, which are given in the order of their lines. Whether their end is missing is
/// not told.
///
/// # Errors
///
/// When a file cannot be read.
pub fn verify_files(paths: &[PathBuf], master_keys: Option<&MasterKeys>) -> io::Result<Report> {
    verify_files_against(paths, Against { master_keys, ..Against::default() })
}

/// The same, held against more.
///
/// # Errors
///
/// When a file cannot be read.
pub fn verify_files_against(paths: &[PathBuf], against: Against<'_>) -> io::Result<Report> {
    read_all(open_each(paths)?, None, None, against)
}

fn open_each(paths: &[PathBuf]) -> io::Result<Vec<(PathBuf, File)>> {
    let open = |path: &PathBuf| Ok((path.clone(), File::open(path).map_err(with_path(path))?));
    paths.iter().map(open).collect()
}

fn with_path(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Opens all files of an audit, again if one was given its full name meanwhile.
fn open_all(path: &Path) -> io::Result<Vec<(PathBuf, File)>> {
    loop {
        let paths = files::all(path)?;
        let opened = open_each(&paths);
        if files::all(path)? == paths {
            return opened;
        }
    }
}

fn read_all(
    files: Vec<(PathBuf, File)>,
    held: Option<Held>,
    handover: Option<Handover>,
    against: Against<'_>,
) -> io::Result<Report> {
    let mut reader = Reader::new(against, held.and_then(Held::position), handover);
    for (path, file) in files {
        let read = reader.file(path.clone(), BufReader::new(file));
        read.map_err(with_path(&path))?;
    }
    match held {
        Some(Held::Nothing) => reader.damage(Damage::NoCheckpoint),
        Some(Held::Torn(_)) => reader.note(Note::TornCheckpoint),
        Some(Held::Position(_)) | None => {}
    }
    Ok(reader.finish())
}

/// What is known after the rows that were read.
struct Reader<'k> {
    against: Against<'k>,
    position: Option<Position>,
    /// What was handed over to the master keys, where they have no line yet.
    handover: Option<Handover>,
    /// Marks under keys that were not given, and that nothing vouches for yet.
    former: Vec<Finding<Former>>,
    /// The ids of keys that were replaced: nothing is made under them any more.
    replaced: BTreeSet<String>,
    report: Report,
    /// The last line of the chain.
    link: Option<Link>,
    /// Whether it says that jwksd stopped: then only a mark can follow.
    is_stopped: bool,
    gaps: Vec<Finding<Gap>>,
    doubts: Vec<Doubt>,
    row: u64,
    /// How many rows were read in all files.
    rows: u64,
    /// Whether a line of the chain was read in this file.
    has_line: bool,
}

/// Numbers that were passed over.
#[derive(Clone, Debug)]
struct Gap {
    from: u64,
    to: u64,
}

/// Marks under a master key that was not given. They are taken for ours if a mark that is says so later:
/// it hangs on all lines before it.
#[derive(Clone, Debug)]
struct Former {
    id: String,
    from: u64,
    to: u64,
}

/// How many keys there can have been that were not given.
const MOST_FORMER: usize = 64;

/// What was found from here on is a crash's remnant, if jwksd resumed after `link`.
struct Doubt {
    link: Option<Link>,
    damage: usize,
    gaps: usize,
    /// How many rows were read before.
    rows: u64,
}

impl<'k> Reader<'k> {
    fn new(against: Against<'k>, position: Option<Position>, handover: Option<Handover>) -> Self {
        Self {
            against,
            position,
            handover,
            former: Vec::new(),
            replaced: BTreeSet::new(),
            report: Report::default(),
            link: None,
            is_stopped: false,
            gaps: Vec::new(),
            doubts: Vec::new(),
            row: 0,
            rows: 0,
            has_line: false,
        }
    }

    fn file(&mut self, path: PathBuf, mut file: impl BufRead) -> io::Result<()> {
        self.report.files.push(path);
        (self.row, self.has_line) = (0, false);
        let mut text = Vec::new();
        while let Some((row, _)) = rows::next(&mut file, &mut text)? {
            self.row += 1;
            self.rows += 1;
            match row {
                Row::Whole => match Parsed::of(&text) {
                    Some(parsed) => self.line(&parsed),
                    None => self.unreadable(),
                },
                Row::TooLong => self.unreadable(),
                Row::Unfinished => {
                    self.note(Note::Unfinished);
                    break;
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, parsed: &Parsed<'_>) {
        let is_ours = self.check_mark(parsed);
        if !std::mem::replace(&mut self.has_line, true) {
            self.first_of_file(parsed, is_ours);
        }
        if self.is_stopped && !is_ours {
            return self.unreadable();
        }
        let Some(link) = self.link else {
            return self.first_of_all(parsed, is_ours);
        };
        let can_resume = |mark| matches!(mark, Mark::Begin | Mark::Resume | Mark::Rekey);
        let resumes = is_ours && parsed.mark.is_some_and(can_resume);
        if resumes && self.settles_a_doubt(parsed) || parsed.follows(&link) {
            self.advance(parsed, is_ours);
        } else if parsed.number <= link.number {
            self.out_of_order(parsed.number);
        } else {
            self.doubt();
            if parsed.number == link.number + 1 {
                self.damage(Damage::Changed { line: link.number });
            } else {
                self.gap(link.number + 1, parsed.number - 1);
            }
            self.advance(parsed, is_ours);
        }
    }

    /// Whether a line is a mark of ours. Without a master key it is taken for one, and so it is under a
    /// key that was not given, until the end shows whether anything vouches for it.
    fn check_mark(&mut self, parsed: &Parsed<'_>) -> bool {
        if parsed.mark.is_none() {
            return false;
        }
        let Some(master_keys) = self.against.master_keys else { return true };
        let id = parsed.tag_id();
        let is_replaced = id.as_ref().is_some_and(|id| self.replaced.contains(id));
        let checked = match parsed.check_tag(master_keys) {
            _ if is_replaced => Err("its master key was replaced before it".to_owned()),
            Ok(()) => Ok(()),
            Err(SealError::OtherMasterKey { id }) => self.check_former(parsed, id),
            Err(SealError::Damaged | SealError::UnknownFormat(_)) => Err(NOT_OURS.to_owned()),
        };
        match checked {
            Ok(()) => {
                self.tell(parsed);
                true
            }
            Err(why) => {
                self.damage(Damage::Forged { line: parsed.number, why });
                false
            }
        }
    }

    /// Notes a mark under a key that is not the one given.
    fn check_former(&mut self, parsed: &Parsed<'_>, id: String) -> Result<(), String> {
        let checked = self.against.former.map(|former| parsed.check_tag(former));
        if let Some(Err(SealError::Damaged | SealError::UnknownFormat(_))) = checked {
            return Err(NOT_OURS.to_owned());
        }
        let line = parsed.number;
        if let Some(former) = self.former.iter_mut().find(|former| former.what.id == id) {
            former.what.to = line;
        } else if self.former.len() < MOST_FORMER {
            let former = self.finding(Former { id, from: line, to: line });
            self.former.push(former);
        } else {
            return Err(SealError::OtherMasterKey { id }.to_string());
        }
        Ok(())
    }

    /// A mark, or the handover, says that what was written under these keys ends with `line`. Where the
    /// mark is itself under a key that was not given, that key has to be vouched for all the same.
    fn replace(&mut self, ids: &[String], line: u64) {
        let (ended, rest) = std::mem::take(&mut self.former)
            .into_iter()
            .partition::<Vec<_>, _>(|former| ids.contains(&former.what.id));
        self.former = rest;
        self.replaced.extend(ids.iter().cloned());
        for Finding { file, row, what: Former { id, from, to } } in ended {
            let note = Note::FormerKey { id, from, to, by: line };
            push(&mut self.report.notes, Finding { file, row, what: note });
        }
    }

    /// What a mark of ours says.
    fn tell(&mut self, parsed: &Parsed<'_>) {
        let (line, reason) = (parsed.number, parsed.reason.clone().unwrap_or_default());
        match parsed.mark {
            Some(Mark::Resume) => self.note(Note::Resumed { line, reason }),
            Some(Mark::Break) => self.damage(Damage::Broken { line, reason }),
            Some(
                Mark::Begin | Mark::End | Mark::Checkpoint | Mark::Start | Mark::Stop | Mark::Rekey,
            )
            | None => {}
        }
    }

    fn first_of_file(&mut self, parsed: &Parsed<'_>, is_ours: bool) {
        if let Some(format) = parsed.format.filter(|format| *format > FORMAT) {
            self.damage(Damage::NewerFormat { format });
        } else if !is_ours || !parsed.mark.is_some_and(Mark::may_begin_a_file) {
            self.damage(Damage::NoBeginning { line: parsed.number });
        }
    }

    fn first_of_all(&mut self, parsed: &Parsed<'_>, is_ours: bool) {
        self.report.first = parsed.number;
        let begins = is_ours && parsed.mark == Some(Mark::Begin);
        if begins && parsed.number == 1 {
            if let Some(rows) = self.forget_doubts(|_| true) {
                self.note(Note::Remnant { rows: rows - 1 });
            }
        } else if begins {
            self.note(Note::BeginsLate { line: parsed.number });
        }
        self.advance(parsed, is_ours);
    }

    /// Whether jwksd resumed here after a line before which all is well.
    fn settles_a_doubt(&mut self, parsed: &Parsed<'_>) -> bool {
        let follows = |doubt: &Doubt| parsed.follows(&doubt.link.unwrap_or(Link::START));
        let remnant = self.forget_doubts(follows);
        if let Some(rows) = remnant {
            self.note(Note::Remnant { rows: rows - 1 });
        }
        remnant.is_some()
    }

    /// Takes back what was found since the first doubt that `is_settled`; returns how many rows were
    /// read since.
    fn forget_doubts(&mut self, is_settled: impl Fn(&Doubt) -> bool) -> Option<u64> {
        let index = self.doubts.iter().position(is_settled)?;
        let doubt = self.doubts.drain(index..).next()?;
        self.report.damage.truncate(doubt.damage);
        self.gaps.truncate(doubt.gaps);
        Some(self.rows - doubt.rows)
    }

    fn advance(&mut self, parsed: &Parsed<'_>, is_ours: bool) {
        let link = parsed.link();
        self.report.lines += 1;
        self.report.last = link.number;
        let synced = self.position.filter(|position| position.link.number == link.number);
        if synced.is_some_and(|position| position.link != link) {
            self.damage(Damage::Changed { line: link.number });
        }
        self.report.has_sought |= self.against.sought == Some(link);
        if is_ours {
            self.replace(&parsed.formerly, link.number);
        }
        let handed_over = self.handover.take_if(|handover| handover.position.link == link);
        if let Some(handover) = handed_over {
            self.replace(&handover.formerly, link.number);
        }
        let is_whole = self.report.damage.is_empty() && self.gaps.is_empty();
        if is_whole && (synced.is_some() || is_ours && self.against.master_keys.is_some()) {
            self.report.authentic_to = link.number;
        }
        self.link = Some(link);
        self.is_stopped = is_ours && parsed.mark == Some(Mark::Stop);
    }

    fn unreadable(&mut self) {
        let file = self.report.files.last();
        let row = self.row;
        if let Some(Finding { file: last, row: first, what: Damage::Unreadable { rows } }) =
            self.report.damage.last_mut()
            && file == Some(last)
            && *first + *rows == row
        {
            *rows += 1;
        } else {
            self.doubt();
            self.damage(Damage::Unreadable { rows: 1 });
        }
    }

    /// A line whose number was passed already.
    fn out_of_order(&mut self, line: u64) {
        self.doubt();
        self.damage(Damage::Reordered { line });
    }

    /// What does not hang together after the last line on the disk was left by a crash, or is being
    /// written; jwksd will resume before it writes on.
    fn forgive_what_was_not_synced(&mut self) {
        let Some(Position { link: synced, .. }) = self.position else { return };
        let is_after = |doubt: &Doubt| doubt.link.map_or(0, |link| link.number) >= synced.number;
        if self.doubts.first().is_some_and(is_after)
            && let Some(rows) = self.forget_doubts(|_| true)
        {
            self.note(Note::Remnant { rows });
        }
    }

    /// The lines that are not where they should be.
    fn reordered(&self) -> impl Iterator<Item = u64> {
        self.report.damage.iter().filter_map(|finding| match finding.what {
            Damage::Reordered { line } => Some(line),
            _ => None,
        })
    }

    fn gap(&mut self, from: u64, to: u64) {
        let gap = self.finding(Gap { from, to });
        push(&mut self.gaps, gap);
    }

    fn doubt(&mut self) {
        let (damage, gaps) = (self.report.damage.len(), self.gaps.len());
        push(&mut self.doubts, Doubt { link: self.link, damage, gaps, rows: self.rows - 1 });
    }

    fn damage(&mut self, damage: Damage) {
        let finding = self.finding(damage);
        push(&mut self.report.damage, finding);
    }

    fn note(&mut self, note: Note) {
        let finding = self.finding(note);
        push(&mut self.report.notes, finding);
    }

    fn finding<T>(&self, what: T) -> Finding<T> {
        let file = self.report.files.last().cloned().unwrap_or_default();
        Finding { file, row: self.row, what }
    }

    /// Marks that nothing vouched for were not made by who has the master key.
    fn refuse_former(&mut self) {
        for Finding { file, row, what: Former { id, from, .. } } in std::mem::take(&mut self.former)
        {
            let why = SealError::OtherMasterKey { id }.to_string();
            let finding = Finding { file, row, what: Damage::Forged { line: from, why } };
            push(&mut self.report.damage, finding);
            self.report.authentic_to = self.report.authentic_to.min(from.saturating_sub(1));
        }
    }

    fn finish(mut self) -> Report {
        self.forgive_what_was_not_synced();
        self.refuse_former();
        let reordered: BTreeSet<u64> = self.reordered().collect();
        for gap in std::mem::take(&mut self.gaps) {
            let Gap { mut from, to } = gap.what;
            for &line in reordered.range(from..=to).chain(&[to + 1]) {
                if from < line {
                    let what = Damage::Cut { from, to: line - 1 };
                    let finding = Finding { file: gap.file.clone(), row: gap.row, what };
                    push(&mut self.report.damage, finding);
                }
                from = line + 1;
            }
        }
        let last = self.link.map_or(0, |link| link.number);
        if let Some(position) = self.position.filter(|position| position.link.number > last) {
            self.damage(Damage::Truncated { from: last + 1, to: position.link.number });
        }
        self.report
    }
}

/// However damaged a file is, what is kept of it is bounded.
fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() < NAMED {
        list.push(item);
    }
}
