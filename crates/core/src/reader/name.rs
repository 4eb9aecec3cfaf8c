//! Names of objects and devices.
//!
//! Guarantees: what passes here is safe in a kernel message, in the text fed to nft and in a file name.

use crate::model::DeviceName;
use crate::reader::{Fault, Field, Read};

/// `IFNAMSIZ` less the final zero (`linux/if.h`).
const DEVICE_BYTES_MAX: usize = 15;
/// RFC 1123 subdomain, as Kubernetes limits it.
const NAME_BYTES_MAX: usize = 253;

/// Name of an object.
pub(crate) fn object(field: &Field<'_>) -> Read<String> {
    object_text(field.path(), field.text()?)
}

/// Name of an object found at `path`.
pub(crate) fn object_text(path: &str, text: &str) -> Read<String> {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = is_end(text.chars().next()) && is_end(text.chars().last());
    if ends && text.chars().all(is_inner) && text.len() <= NAME_BYTES_MAX {
        return Ok(text.to_owned());
    }
    let remedy = "use lower-case letters, digits, '-' and '.', at most 253, a letter or digit at both ends";
    Err(Fault::invalid(path, format!("{text:?} is not a name"), remedy))
}

/// Name of a network device (`dev_valid_name`, net/core/dev.c), without the characters nft gives a meaning.
pub(crate) fn device(field: &Field<'_>) -> Read<DeviceName> {
    device_text(field.path(), field.text()?)
}

/// The same found at `path`.
pub(crate) fn device_text(path: &str, text: &str) -> Read<DeviceName> {
    let is_good = |c: char| c.is_ascii_graphic() && !"/:\"\\*".contains(c);
    let is_length = (1..=DEVICE_BYTES_MAX).contains(&text.len());
    if is_length && text.chars().all(is_good) && text != "." && text != ".." {
        return Ok(DeviceName(text.to_owned()));
    }
    let remedy = "use 1 to 15 printable ASCII characters without blank, '/', ':', '*', '\\' and '\"'";
    Err(Fault::invalid(path, format!("{text:?} is not a device name"), remedy))
}
