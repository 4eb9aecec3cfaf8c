//! Whether an executable asks for a dynamic loader (`elf(5)`, program header `PT_INTERP`).

use anyhow::{Context, Result, bail};

/// `PT_INTERP`.
const INTERPRETER: u32 = 3;
/// Offsets in a 64-bit file header: `e_phoff`, `e_phentsize`, `e_phnum`.
const TABLE: usize = 32;
const ENTRY_SIZE: usize = 54;
const ENTRIES: usize = 56;

/// Whether the 64-bit little-endian ELF file names an interpreter.
///
/// # Errors
/// When it is no such file or is cut short.
pub(super) fn interpreter(file: &[u8]) -> Result<bool> {
    if file.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("not a 64-bit little-endian ELF file");
    }
    let table = usize::try_from(u64::from_le_bytes(bytes(file, TABLE)?)).context("program headers beyond memory")?;
    let entry = usize::from(u16::from_le_bytes(bytes(file, ENTRY_SIZE)?));
    for index in 0..usize::from(u16::from_le_bytes(bytes(file, ENTRIES)?)) {
        if u32::from_le_bytes(bytes(file, table + index * entry)?) == INTERPRETER {
            return Ok(true);
        }
    }
    Ok(false)
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Result<[u8; N]> {
    file.get(at..at + N).and_then(|slice| slice.try_into().ok()).context("ELF file is cut short")
}

#[cfg(test)]
mod tests {
    use super::interpreter;

    fn file(kinds: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32] = 64;
        file[54] = 56;
        file[56] = u8::try_from(kinds.len()).unwrap();
        for kind in kinds {
            file.extend([&[*kind, 0, 0, 0][..], &[0; 52]].concat());
        }
        file
    }

    #[test]
    fn a_dynamic_executable_is_told_from_a_static_one() {
        assert!(interpreter(&file(&[6, 3, 1])).unwrap());
        assert!(!interpreter(&file(&[6, 1])).unwrap());
    }

    #[test]
    fn this_test_itself_has_an_interpreter() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(interpreter(&own).unwrap());
    }

    #[test]
    fn a_cut_or_foreign_file_is_an_error() {
        assert!(interpreter(b"#!/bin/sh\n").is_err());
        assert!(interpreter(&file(&[6, 1])[..70]).is_err());
    }
}
