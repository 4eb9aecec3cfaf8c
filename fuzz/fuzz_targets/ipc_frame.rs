//! Any line is read as a message without a panic; what was read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sortie_ipc::{Call, Reply, decode, encode};

fuzz_target!(|line: &[u8]| {
    there_and_back::<Call>(line);
    there_and_back::<Reply>(line);
});

fn there_and_back<T: Serialize + DeserializeOwned>(line: &[u8]) {
    let Ok(message) = decode::<T>(line) else { return };
    // A message may grow when it is written; one that is too long is refused, which is right.
    let Ok(written) = encode(&message) else { return };
    assert!(decode::<T>(&written).is_ok(), "a written message cannot be read");
}
