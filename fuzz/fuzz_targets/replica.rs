//! Any bytes are read as a message about connections without a panic; what was read is sound, can be written and read
//! again, and a replica takes it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sortie_core::ownership::Millis;
use sortie_core::replica::{CONNECTIONS_MAX, Change, Message, Replica, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = decode(bytes) else { return };
    let written = encode(&message).expect("what was read can be written");
    assert_eq!(decode(&written).expect("and read again"), message);
    if let Message::Changes(changes) = &message {
        for change in changes {
            assert!(!matches!(change, Change::Put(connection) if !connection.flow.is_sound()), "unsound");
        }
    }
    let mut replica = Replica::default();
    for message in [message.clone(), Message::End, message] {
        replica.hear(1, message, Millis(0));
    }
    assert!(replica.len() <= CONNECTIONS_MAX);
});
