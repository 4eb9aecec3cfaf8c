//! Any environment and any standard input are read without a panic, and so are the wishes in them.
//!
//! Input: lines `NAME=VALUE` up to the first empty line are the environment, the rest is standard input.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use sortie_core::annotation;
use sortie_core::cni::{self, Command};

fuzz_target!(|data: &[u8]| {
    let (head, stdin) = divided(data);
    let environment = environment(head);
    let read = || cni::parse(|name| environment.get(name).cloned(), stdin);
    let parsed = read();
    assert_eq!(parsed, read(), "two readings differ");
    match parsed {
        Ok(input) => {
            if let Command::Add(addition) = input.command {
                drop(annotation::egress("Pod fuzz", &addition.attachment.annotations));
                drop(annotation::net_conf(&addition.attachment.routes));
            }
        }
        Err(refusal) => assert!(refusal.error.code > 0, "0 is no error code"),
    }
});

fn divided(data: &[u8]) -> (&[u8], &[u8]) {
    match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &[]),
    }
}

fn environment(head: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(head);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
