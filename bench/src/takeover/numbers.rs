//! Datagrams of a pod that are counted one by one.
//!
//! Guarantees: what is missing at the end was lost on its way to the server or back: answers are waited for.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sortie_testkit::Namespace;
use sortie_testkit::cluster::SERVER;

/// A thousand a second.
const PACE: Duration = Duration::from_millis(1);
/// Port of the pods, one of those of the Service.
const PORT: u16 = 5064;
/// Longest time for the last answers.
const LAST: Duration = Duration::from_millis(300);

/// What became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) sent: usize,
    pub(crate) lost: usize,
}

/// A sender at work.
pub(crate) struct Numbers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Count>>,
}

impl Numbers {
    pub(crate) fn start(pod: &Namespace) -> Result<Self> {
        let socket = pod.with(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
            socket.connect(SERVER)?;
            Ok(socket)
        })?;
        socket.set_nonblocking(true).context("a socket blocks")?;
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        let thread = std::thread::spawn(move || count(&socket, &over));
        Ok(Self { stop, thread: Some(thread) })
    }

    pub(crate) fn stop(mut self) -> Result<Count> {
        self.end().context("a sender has failed")
    }

    fn end(&mut self) -> Option<Count> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sends until it is over. Counting begins with the first answer: before it the pod's first packets find their way.
fn count(socket: &UdpSocket, over: &AtomicBool) -> Count {
    let (mut sent, mut answered, mut early) = (0, 0, 0);
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        // What the kernel refuses is missing, too.
        let _ = socket.send(b"?");
        sent += 1;
        answered += answers(socket);
        if answered == 0 {
            early = sent;
        }
        next = (next + PACE).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let end = Instant::now() + LAST;
    while answered < sent && Instant::now() < end {
        answered += answers(socket);
        std::thread::sleep(PACE);
    }
    Count { sent: sent - early, lost: sent.saturating_sub(early).saturating_sub(answered) }
}

fn answers(socket: &UdpSocket) -> usize {
    std::iter::from_fn(|| socket.recv(&mut [0; 128]).ok()).count()
}
