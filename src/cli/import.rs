//! `jwksd keys import`: a key that was made elsewhere.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use jwksd::api::{ImportRequest, ImportResponse, KeyState};
use jwksd::client::Client;
use jwksd::secret_file::{self, Reader};
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::import::{self, FILE_LIMIT, ImportError};
use zeroize::Zeroizing;

use super::Out;
use super::keys::{act, instant};
use super::print::seconds;

/// The name of standard input.
const STDIN: &str = "-";

#[derive(clap::Args)]
pub(super) struct Args {
    /// The key set
    keyset: KeysetName,
    /// The key: PKCS#8, PKCS#1, SEC1 or OpenSSH in PEM, an OpenSSH public key, or a JWK; - for
    /// standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the key is to be called; without it, what its JWK says, or else its thumbprint
    #[arg(long, value_name = "KID", allow_hyphen_values = true)]
    kid: Option<KeyId>,
    /// Do not sign with it, only publish its public half, so that tokens of another issuer verify;
    /// takes --until, and a public key is enough
    #[arg(long, requires = "until")]
    verify_only: bool,
    /// With --verify-only: until when, such as 2026-11-22T03:00:00Z, at most 400 days ahead
    #[arg(long, value_name = "TIME", requires = "verify_only", value_parser = instant)]
    until: Option<String>,
    /// Where the passphrase of an encrypted key is; without it, the terminal is asked
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Replace the standby also where it was exported, and verifiers may have it in place
    #[arg(long, conflicts_with = "verify_only")]
    force: bool,
}

/// The text of a key file.
struct KeyFile {
    text: Zeroizing<String>,
    /// Who may read it, where others than its owner may.
    mode: Option<u32>,
}

/// What can be seen of a key file without its passphrase.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Public,
    Private,
    Encrypted,
}

pub(super) fn run(client: &Client, args: &Args, out: &Out) -> anyhow::Result<ExitCode> {
    let file = KeyFile::read(&args.file)?;
    let holds = file.holds().with_context(|| args.name())?;
    if let (Holds::Private | Holds::Encrypted, Some(mode)) = (holds, file.mode) {
        warn(&args.name(), mode);
    }
    let passphrase = match holds {
        Holds::Encrypted => Some(passphrase(args)?),
        Holds::Public | Holds::Private => None,
    };
    let request = ImportRequest {
        key: &file.text,
        passphrase: passphrase.as_ref().map(|passphrase| passphrase.as_str()),
        kid: args.kid.as_ref(),
        verify_only_until: args.until.as_deref(),
        force: args.force,
    };
    let path = format!("/v1/keysets/{}/import", args.keyset);
    let answer: ImportResponse = act(client, &path, &request)?;
    out.print(&answer, |answer| text(answer, &args.name()))?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// The file, for people.
    fn name(&self) -> String {
        let is_stdin = self.file.as_os_str() == STDIN;
        if is_stdin { "standard input".to_owned() } else { self.file.display().to_string() }
    }
}

impl KeyFile {
    fn read(path: &Path) -> anyhow::Result<Self> {
        if path.as_os_str() == STDIN {
            return Ok(Self { text: text_of(io::stdin().lock(), path)?, mode: None });
        }
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let metadata = file.metadata().with_context(|| path.display().to_string())?;
        let mode = metadata.permissions().mode() & 0o777;
        let is_open = metadata.is_file() && mode & 0o077 != 0;
        Ok(Self { text: text_of(file, path)?, mode: is_open.then_some(mode) })
    }

    /// What is no key is not sent anywhere: it may be another secret.
    fn holds(&self) -> Result<Holds, ImportError> {
        match import::read(self.text.as_bytes(), None) {
            Ok(key) => Ok(if key.pair().is_ok() { Holds::Private } else { Holds::Public }),
            Err(ImportError::PassphraseNeeded) => Ok(Holds::Encrypted),
            Err(error) => Err(error),
        }
    }
}

/// Reads as much as a key file may have, into memory that does not move and leaves no copies.
fn text_of(from: impl Read, path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let most = FILE_LIMIT + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    let read = from.take(most as u64).read_to_end(&mut bytes);
    read.with_context(|| path.display().to_string())?;
    match String::from_utf8(std::mem::take(&mut bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            let bytes = Zeroizing::new(error.into_bytes());
            // The reader knows what other formats look like.
            let reason = import::read(&bytes, None).err().unwrap_or(ImportError::NotText);
            bail!("{}: {reason}", path.display())
        }
    }
}

fn warn(name: &str, mode: u32) {
    let text = format!(
        "jwksd: warning: {name} can be read by others (mode {mode:03o}), and whoever did can sign \
         with the key: chmod 600 it"
    );
    // A closed stderr leaves no way to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

fn passphrase(args: &Args) -> anyhow::Result<Zeroizing<String>> {
    if let Some(path) = &args.passphrase_file {
        return first_line(path);
    }
    let name = args.name();
    let asked = rpassword::prompt_password(format!("Passphrase of {name}: "));
    asked.map(Zeroizing::new).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => anyhow!("no passphrase of {name} was given"),
        _ => anyhow!(
            "{name} is encrypted, and there is no terminal to ask for its passphrase on: give \
             --passphrase-file: {error}"
        ),
    })
}

/// The only line of a file.
fn first_line(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let bytes = secret_file::read(path, Reader::User)?;
    let text = std::str::from_utf8(&bytes);
    let text = text.with_context(|| format!("{} is not UTF-8 text", path.display()))?;
    let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() || line.contains('\n') {
        bail!("{} must have one line, the passphrase", path.display());
    }
    Ok(Zeroizing::new(line.to_owned()))
}

fn text(answer: &ImportResponse, file: &str) -> String {
    let ImportResponse { keyset, kid, algorithm, .. } = answer;
    let published = seconds(&answer.published);
    let mut text = match (answer.state, answer.activates.as_deref()) {
        (KeyState::Active, _) => format!("{keyset}: {kid} ({algorithm}) signs now\n"),
        (KeyState::Pending, Some(at)) => format!(
            "{keyset}: {kid} ({algorithm}) is published since {published}, and signs from {} on\n",
            seconds(at)
        ),
        (KeyState::Pending, None) => format!(
            "{keyset}: {kid} ({algorithm}) is published since {published}, and signs when asked: \
             jwksd keys rotate {keyset}\n"
        ),
        (KeyState::VerifyOnly | KeyState::Retired | KeyState::Revoked, _) => {
            let retires = answer.retires.as_deref().map(seconds).unwrap_or_default();
            format!(
                "{keyset}: {kid} ({algorithm}) is published since {published}, and only verifies, \
                 until {retires}\n"
            )
        }
    };
    if answer.already {
        text = format!("nothing to do, this was imported before: {text}");
    }
    for old in &answer.replaced {
        text += &format!("it takes the place of the standby {old}\n");
    }
    if matches!(answer.state, KeyState::Active | KeyState::Pending) {
        text += &format!("whoever has {file} can sign with the key too: erase it there\n");
    }
    for warning in &answer.warnings {
        text += &format!("warning: {warning}\n");
    }
    text
}
