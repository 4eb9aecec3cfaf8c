//! One pod from its first to its last moment.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use sortie_testkit::lab::SERVER4;
use sortie_testkit::{Cni, Lab, Namespace};

use crate::leak::subject::Subject;
use crate::leak::witness::{PORT, Witness, label};

/// How long it sends.
const SENDS: Duration = Duration::from_millis(100);
/// What it sends without a pause, at first.
const BURST: usize = 200;
/// Time between two datagrams afterwards.
const PACE: Duration = Duration::from_micros(100);

/// Where pods live, and who looks at them.
pub(crate) type Stage<'a> = (&'a Lab, &'a Cni<'a>, &'a Witness);

/// What is known of a pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) number: usize,
    /// When it sent first.
    pub(crate) began: Instant,
    pub(crate) sent: usize,
}

/// Attaches it, lets it send and takes it off again.
pub(crate) fn live((lab, network, witness): Stage<'_>, number: usize) -> Result<Life> {
    let subject = Subject::of(number);
    let mut pod = network.sandbox(subject.spec(number))?;
    network.add(&mut pod)?;
    let address = pod.ip4()?;
    let (began, sent) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(&pod.namespace, number));
        subject.told(lab, address)?;
        sender.join().map_err(|_| anyhow!("a sender has failed"))?
    })?;
    witness.look()?;
    network.del(&pod)?;
    subject.forgotten(lab, address)?;
    lab.net().remove(&pod.namespace);
    Ok(Life { number, began, sent })
}

fn send(pod: &Namespace, number: usize) -> Result<(Instant, usize)> {
    pod.with(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").context("no socket")?;
        let (text, began) = (label(number), Instant::now());
        let mut sent = 0;
        while began.elapsed() < SENDS {
            // What the kernel refuses leaves by no way.
            sent += usize::from(socket.send_to(text.as_bytes(), (SERVER4, PORT)).is_ok());
            if sent >= BURST {
                std::thread::sleep(PACE);
            }
        }
        Ok((began, sent))
    })
}
