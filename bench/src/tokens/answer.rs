//! PURE: an answer, from the bytes that have come so far.

use anyhow::{Context as _, Result, bail};

/// What the head of an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Where the body begins.
    pub(super) body: usize,
    /// Where it ends.
    pub(super) whole: usize,
}

/// The head that `received` begins with, where all of it has come.
///
/// # Errors
///
/// When it is none of HTTP/1.1, or does not say how long the body is (RFC 9112, section 6.3).
pub(super) fn head(received: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = answer.parse(received).context("not HTTP/1.1")? else {
        return Ok(None);
    };
    let status = answer.code.context("an answer without a status")?;
    let length = answer.headers.iter().find(|header| is(header, "content-length"));
    let length = match length {
        _ if status == 304 || status == 204 => 0,
        Some(length) => std::str::from_utf8(length.value)?.parse().context("Content-Length")?,
        None => bail!("an answer of status {status} without a Content-Length"),
    };
    Ok(Some(Head { status, body: head, whole: head + length }))
}

/// How many tokens a body holds.
pub(super) fn tokens(body: &[u8]) -> usize {
    memchr::memmem::find_iter(body, b"\"token\":\"").count()
}

fn is(header: &httparse::Header<'_>, name: &str) -> bool {
    header.name.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_whole_when_its_empty_line_has_come() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(head(&answer[..37]).unwrap(), None);
        let found = Head { status: 200, body: 38, whole: 43 };
        assert_eq!(head(&answer[..38]).unwrap(), Some(found));
        assert_eq!(head(answer).unwrap(), Some(found));
    }

    #[test]
    fn what_is_not_modified_has_no_body() {
        let answer = b"HTTP/1.1 304 Not Modified\r\ncontent-length: 300\r\n\r\n";
        assert_eq!(head(answer).unwrap().unwrap().whole, answer.len());
    }

    #[test]
    fn a_body_of_unknown_length_is_refused() {
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn tokens_of_a_batch_are_counted_and_problems_are_not() {
        let body =
            br#"{"results":[{"token":"a.b.c"},{"error":{"code":"busy"}},{"token":"d.e.f"}]}"#;
        assert_eq!(tokens(body), 2);
    }
}
