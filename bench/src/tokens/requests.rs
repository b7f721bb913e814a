//! What is sent: whole requests, made before the first is sent.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::Arguments;

/// The requests, which are sent in turn, and what a good answer to each is.
pub(super) struct Requests {
    texts: Vec<Vec<u8>>,
    pub(super) good: Good,
}

/// A good answer has this status and so many tokens, where they are counted.
#[derive(Clone, Copy)]
pub(super) struct Good {
    pub(super) status: u16,
    pub(super) batch: Option<u32>,
}

impl Requests {
    /// # Errors
    ///
    /// When the body cannot be read, or the arguments contradict each other.
    pub(super) fn prepare(arguments: &Arguments) -> Result<Self> {
        let body = arguments.body.as_deref().map(read).transpose()?;
        if arguments.batch.is_some() && body.is_none() {
            bail!("--batch wants a --body");
        }
        if arguments.sets == 0 || arguments.batch == Some(0) {
            bail!("--sets and --batch must be at least 1");
        }
        let body = match (body, arguments.batch) {
            (Some(body), Some(size)) => Some(batch(&body, size)),
            (body, _) => body,
        };
        let texts = (0..arguments.sets).map(|set| {
            let path = arguments.path.replace("{}", &set.to_string());
            request(arguments, &path, body.as_deref())
        });
        let good = Good { status: arguments.expect, batch: arguments.batch };
        Ok(Self { texts: texts.collect(), good })
    }

    /// The request of this number.
    pub(super) fn of(&self, number: u64) -> &[u8] {
        let count = self.texts.len() as u64;
        usize::try_from(number % count).map_or(&[], |place| &self.texts[place])
    }
}

fn read(file: &Path) -> Result<String> {
    let mut body = String::new();
    if file == Path::new("-") {
        io::stdin().read_to_string(&mut body).context("standard input")?;
    } else {
        body = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    }
    Ok(body)
}

/// The body of a request for so many tokens.
fn batch(wish: &str, size: u32) -> String {
    let wishes = vec![wish; size as usize];
    format!("{{\"requests\":[{}]}}", wishes.join(","))
}

fn request(arguments: &Arguments, path: &str, body: Option<&str>) -> Vec<u8> {
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
    if let Some(token) = &arguments.token {
        text += &format!("authorization: Bearer {token}\r\n");
    }
    for header in &arguments.header {
        text += &format!("{header}\r\n");
    }
    if let Some(body) = body {
        let kind = &arguments.content_type;
        text += &format!("content-type: {kind}\r\ncontent-length: {}\r\n", body.len());
    }
    text += "\r\n";
    text += body.unwrap_or_default();
    text.into_bytes()
}
