//! PURE: whom a fetch is put down to: told apart no further than the operator asked for.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How much of a text of a stranger is kept, in characters.
const LONGEST_TEXT: usize = 80;

/// How many bits of an address are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// Of an IPv4 address.
    pub ipv4: u8,
    /// Of an IPv6 address.
    pub ipv6: u8,
}

impl Default for Prefixes {
    /// What one organisation or household has: no person is told from its neighbours.
    fn default() -> Self {
        Self { ipv4: 24, ipv6: 48 }
    }
}

/// Who fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who<T> {
    /// A process of this host, over a Unix socket.
    Local,
    /// Somebody in a network: the address with all bits behind the prefix taken away.
    Network(IpAddr, u8),
    /// Whom the configured header names.
    Named(T),
}

impl Prefixes {
    /// The network that an address is in.
    pub(super) fn network<T>(self, address: IpAddr) -> Who<T> {
        let kept = |bits: u8, of: u8| u32::from(of.saturating_sub(bits.min(of)));
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(kept(self.ipv4, 32)).unwrap_or(0);
                let network = Ipv4Addr::from_bits(address.to_bits() & mask);
                Who::Network(network.into(), self.ipv4)
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(kept(self.ipv6, 128)).unwrap_or(0);
                let network = Ipv6Addr::from_bits(address.to_bits() & mask);
                Who::Network(network.into(), self.ipv6)
            }
        }
    }

    /// Whom the last line of a header names: what is behind its last comma, since a proxy adds its
    /// word at the end and what stands before is the client's. An address counts as one.
    pub(super) fn named(self, value: &[u8]) -> Who<Text> {
        let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
        match std::str::from_utf8(last).ok().and_then(|text| address_in(text.trim())) {
            Some(address) => self.network(address),
            None => Who::Named(Text::of(last)),
        }
    }
}

/// An address, with a port or not.
fn address_in(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    bare.parse().ok().or_else(with_port)
}

impl Who<Text> {
    /// Whether it is one that is kept.
    pub(super) fn is(&self, kept: &Who<Box<str>>) -> bool {
        match (self, kept) {
            (Self::Local, Who::Local) => true,
            (Self::Network(one, bits), Who::Network(two, of)) => one == two && bits == of,
            (Self::Named(one), Who::Named(two)) => one.is(two),
            _ => false,
        }
    }

    /// The same, to be kept.
    pub(super) fn kept(&self) -> Who<Box<str>> {
        match self {
            Self::Local => Who::Local,
            Self::Network(address, bits) => Who::Network(*address, *bits),
            Self::Named(text) => Who::Named(text.as_ref().into()),
        }
    }
}

impl<T: AsRef<str>> fmt::Display for Who<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Network(address, bits) => write!(f, "{address}/{bits}"),
            Self::Named(text) => f.write_str(text.as_ref()),
        }
    }
}

/// The text of a stranger, cut and cleaned: printable ASCII alone, so that it is inert in a terminal;
/// anything else is a question mark. It lies on the stack, since it is mostly known already.
#[derive(Clone, Copy)]
pub(super) struct Text {
    bytes: [u8; LONGEST_TEXT],
    length: usize,
}

impl Text {
    pub(super) fn of(text: &[u8]) -> Self {
        let text = text.trim_ascii();
        let length = text.len().min(LONGEST_TEXT);
        let mut bytes = [0; LONGEST_TEXT];
        bytes[..length].copy_from_slice(&text[..length]);
        // All of them, since the compiler does many at once.
        let bytes = bytes.map(|byte| if (b' '..=b'~').contains(&byte) { byte } else { b'?' });
        Self { bytes, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Whether it is one that is kept.
    pub(super) fn is(&self, kept: &str) -> bool {
        self.bytes() == kept.as_bytes()
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.bytes());
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        // It is ASCII.
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(address: &str) -> String {
        Prefixes::default().network::<Text>(address.parse().unwrap()).to_string()
    }

    fn named(value: &str) -> String {
        Prefixes::default().named(value.as_bytes()).to_string()
    }

    #[test]
    fn an_address_is_cut_to_its_network() {
        assert_eq!(network("192.0.2.77"), "192.0.2.0/24");
        assert_eq!(network("::ffff:192.0.2.77"), "192.0.2.0/24");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1::/48");
        let all = Prefixes { ipv4: 32, ipv6: 128 };
        assert_eq!(all.network::<Text>("192.0.2.77".parse().unwrap()).to_string(), "192.0.2.77/32");
        assert_eq!(all.network::<Text>("::1".parse().unwrap()).to_string(), "::1/128");
        let none = Prefixes { ipv4: 0, ipv6: 0 };
        assert_eq!(none.network::<Text>("192.0.2.77".parse().unwrap()).to_string(), "0.0.0.0/0");
        assert_eq!(none.network::<Text>("2001:db8::1".parse().unwrap()).to_string(), "::/0");
    }

    #[test]
    fn of_a_header_the_word_of_the_last_proxy_counts() {
        assert_eq!(named("billing"), "billing");
        assert_eq!(named("198.51.100.1, 192.0.2.77"), "192.0.2.0/24");
        assert_eq!(named("192.0.2.77:4711"), "192.0.2.0/24");
        assert_eq!(named(" [2001:db8:1:2::3] "), "2001:db8:1::/48");
        assert_eq!(named("[2001:db8:1:2::3]:443"), "2001:db8:1::/48");
        assert_eq!(named("forged, "), "");
    }

    #[test]
    fn a_text_is_cut_and_cleaned() {
        let clean = |text: &[u8]| Text::of(text).as_ref().to_owned();
        assert_eq!(clean(b"python-requests/2.31 (x; y)"), "python-requests/2.31 (x; y)");
        assert_eq!(clean(b"\x1b[2J\x07a\tb\x9bc\xe2\x80\xaed"), "?[2J?a?b?c???d");
        assert_eq!(clean(&[b'a'; 5000]), "a".repeat(80));
        assert_eq!(clean(b""), "");
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_short_and_printable(text: Vec<u8>) {
            for text in [Text::of(&text).as_ref().to_owned(), Prefixes::default().named(&text).to_string()] {
                prop_assert!(text.len() <= LONGEST_TEXT);
                prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }
    }
}
