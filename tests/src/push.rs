//! A server that speaks of its own accord to pods that called once and are silent since.
//!
//! Only the node that owns the address knows where such packets go: nothing that a pod sends teaches another one.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use sortie_testkit::cluster::{Cluster, SERVER};
use sortie_testkit::until;

/// Where the server speaks.
const SPEAKER: (Ipv4Addr, u16) = (SERVER.0, 7002);
/// Port of the pods, one of those of the Service.
const PORT: u16 = 5062;
/// Longest time for a call to arrive.
const CALL: Duration = Duration::from_secs(30);

/// A pod that heard nothing for so long at the end will not any more.
const ENDED: Duration = Duration::from_millis(300);

/// A pod that called once.
struct Silent {
    socket: UdpSocket,
    /// What the server sees.
    seen: SocketAddr,
    last: Instant,
    gap: Duration,
}

impl Silent {
    fn call(cluster: &Cluster, number: usize, server: &UdpSocket) -> Result<Self> {
        let pod = &cluster.nodes[number - 1].pod;
        let socket = pod.with(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?))?;
        socket.set_nonblocking(true)?;
        let end = Instant::now() + CALL;
        while Instant::now() < end {
            // Refused by ICMP until the way is there.
            let _ = socket.send_to(b"call", SPEAKER);
            if let Ok((_, seen)) = server.recv_from(&mut [0; 16]) {
                return Ok(Self { socket, seen, last: Instant::now(), gap: Duration::ZERO });
            }
        }
        Err(anyhow!("the call of the pod of n{number} does not arrive"))
    }

    /// How many pushes came.
    fn listen(&mut self) -> u32 {
        let mut came = 0;
        while self.socket.recv(&mut [0; 4]).is_ok() {
            self.gap = self.gap.max(self.last.elapsed());
            self.last = Instant::now();
            came += 1;
        }
        came
    }
}

/// The server at work.
pub struct Pushes {
    /// What it sees of each pod.
    pub seen: Vec<SocketAddr>,
    /// Pushes that came, by pod.
    came: Arc<Mutex<Vec<u32>>>,
    spoke: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Duration>>>,
}

impl Pushes {
    /// Lets the pods of these nodes call, then speaks to each with this time in between.
    ///
    /// # Errors
    /// When a call does not arrive.
    pub fn start(cluster: &Cluster, numbers: &[usize], pace: Duration) -> Result<Self> {
        let server = cluster.server.with(|| Ok(UdpSocket::bind(SPEAKER)?))?;
        server.set_read_timeout(Some(pace))?;
        let call = |number: &usize| Silent::call(cluster, *number, &server);
        let mut pods = numbers.iter().map(call).collect::<Result<Vec<_>>>()?;
        let seen = pods.iter().map(|pod| pod.seen).collect();
        let came = Arc::new(Mutex::new(vec![0; pods.len()]));
        let (spoke, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, told, ends) = (Arc::clone(&came), Arc::clone(&spoke), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                for (index, pod) in pods.iter_mut().enumerate() {
                    let _ = server.send_to(b"push", pod.seen);
                    count.lock().unwrap_or_else(PoisonError::into_inner)[index] += pod.listen();
                }
                // Waits, and hears that the pods are silent.
                if server.recv(&mut [0; 16]).is_ok() {
                    told.fetch_add(1, Ordering::Relaxed);
                }
            }
            pods.iter().map(|pod| if pod.last.elapsed() > ENDED { Duration::MAX } else { pod.gap }).collect()
        });
        Ok(Self { seen, came, spoke, stop, thread: Some(thread) })
    }

    /// Waits until each pod heard so many from now on.
    ///
    /// # Errors
    /// When one does not in time.
    pub fn heard(&self, count: u32, limit: Duration) -> Result<()> {
        let came = || self.came.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let before = came();
        let enough = || came().iter().zip(&before).all(|(now, then)| now - then >= count);
        until(limit, "the pods to hear the server", enough)
    }

    /// Ends it: the longest time without a push, of each pod; [`Duration::MAX`] of one that hears none at the end.
    ///
    /// # Errors
    /// When a pod spoke after its call.
    pub fn stop(mut self) -> Result<Vec<Duration>> {
        let gaps = self.end().ok_or_else(|| anyhow!("the server has failed"))?;
        let spoke = self.spoke.load(Ordering::Relaxed);
        ensure!(spoke == 0, "a pod spoke {spoke} times");
        Ok(gaps)
    }

    fn end(&mut self) -> Option<Vec<Duration>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()
    }
}

impl Drop for Pushes {
    fn drop(&mut self) {
        self.end();
    }
}
