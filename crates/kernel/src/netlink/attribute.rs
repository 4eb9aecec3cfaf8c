//! Netlink attributes (`struct nlattr`, `linux/netlink.h`).
//!
//! Guarantees: reading never goes past the buffer; what is written is padded and its length is right.
//! Leaves out: values wider than 64 KiB, which no attribute can hold.

use std::net::IpAddr;

const HEADER: usize = 4;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// The attributes of a buffer; stops at the first malformed one.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Of a buffer that starts with an attribute.
    pub(crate) fn of(buffer: &'a [u8]) -> Self {
        Self { rest: buffer }
    }

    /// Value of the first attribute of a type.
    pub(crate) fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(k, value)| (k == kind).then_some(value))
    }

    /// Attributes nested in the first attribute of a type.
    pub(crate) fn nested(self, kind: u16) -> Option<Attributes<'a>> {
        self.find(kind).map(Attributes::of)
    }

    /// Text of the first attribute of a type.
    pub(crate) fn text(self, kind: u16) -> Option<String> {
        self.find(kind).map(text)
    }

    /// Big-endian number in the first attribute of a type.
    pub(crate) fn be32(self, kind: u16) -> Option<u32> {
        self.find(kind).and_then(be32)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, _) = self.rest.split_first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & TYPE_MASK;
        let value = self.rest.get(HEADER..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A string up to its terminating NUL.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A number in network order, as netfilter writes them.
pub(crate) fn be32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// An address in network order.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// A number in host order, as route netlink writes them.
#[cfg(feature = "async")]
pub(crate) fn ne32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// Writes attributes one after the other.
#[derive(Default)]
pub(crate) struct Writer {
    buffer: Vec<u8>,
}

impl Writer {
    /// After a fixed header.
    pub(crate) fn after(header: &[u8]) -> Self {
        Self { buffer: header.to_vec() }
    }

    /// Adds bytes.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.header(kind, value.len());
        self.buffer.extend_from_slice(value);
        self.pad()
    }

    /// Adds a number in network order.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds a string with its NUL.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.header(kind, value.len() + 1);
        self.buffer.extend_from_slice(value.as_bytes());
        self.buffer.push(0);
        self.pad()
    }

    /// Adds a nested attribute with what `inside` writes.
    pub(crate) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.buffer.len();
        self.header(kind | NESTED, 0);
        inside(self);
        let length = u16::try_from(self.buffer.len() - start).unwrap_or(u16::MAX);
        self.buffer[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// What was written.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.buffer
    }

    fn header(&mut self, kind: u16, value_length: usize) {
        let length = u16::try_from(HEADER + value_length).unwrap_or(u16::MAX);
        self.buffer.extend_from_slice(&length.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
    }

    fn pad(&mut self) -> &mut Self {
        self.buffer.resize(self.buffer.len().next_multiple_of(4), 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_attributes_are_read_back() {
        let mut writer = Writer::default();
        writer.text(1, "abc").nest(3, |w| {
            w.be32(1, 7).bytes(2, &[9]);
        });
        let bytes = writer.into_bytes();
        assert_eq!(bytes.len() % 4, 0);
        let attributes = Attributes::of(&bytes);
        assert_eq!(attributes.text(1).as_deref(), Some("abc"));
        let inner = attributes.nested(3).unwrap();
        assert_eq!(inner.be32(1), Some(7));
        assert_eq!(inner.find(2), Some([9].as_slice()));
    }

    #[test]
    fn a_truncated_buffer_ends_the_iteration() {
        let mut writer = Writer::default();
        writer.be32(1, 7).be32(2, 8);
        let bytes = writer.into_bytes();
        for length in 0..bytes.len() {
            assert!(Attributes::of(&bytes[..length]).count() <= length / 8);
        }
        assert_eq!(Attributes::of(&[0, 0, 1, 0, 0, 0]).count(), 0, "a length shorter than the header");
    }
}
