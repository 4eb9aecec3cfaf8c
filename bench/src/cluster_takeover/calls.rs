//! Callers outside.

use std::collections::VecDeque;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sortie_testkit::Namespace;
use sortie_testkit::lab::CLIENT4;

use crate::cluster::SERVED;

/// Time between two calls.
const PACE: Duration = Duration::from_millis(10);
/// Sockets that still wait for an answer.
const KEPT: usize = 100;

/// Datagrams from a new port each time to a Service, until it is dropped. The switch sees what is answered.
pub(super) struct Calls {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Calls {
    pub(super) fn start(outside: &Namespace, to: IpAddr) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (outside, over) = (outside.clone(), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let _ = outside.enter().map(|()| call(to, &over));
        });
        Self { is_over, thread: Some(thread) }
    }
}

fn call(to: IpAddr, over: &AtomicBool) {
    let mut sockets = VecDeque::new();
    while !over.load(Ordering::Relaxed) {
        // What cannot be sent, to a neighbour that is not there, is not answered.
        if let Ok(socket) = UdpSocket::bind((CLIENT4[0], 0)) {
            let _ = socket.send_to(b"?", (to, SERVED));
            sockets.push_back(socket);
        }
        if sockets.len() > KEPT {
            sockets.pop_front();
        }
        std::thread::sleep(PACE);
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
