//! A pod's process: sends at once after it started.
//!
//! `blast COUNT PORT TO...` sends COUNT datagrams from PORT to each address as fast as it can.
//! `ask PORT TO` sends one datagram and prints the answer.
//! `send NAME MILLISECONDS TO...` sends datagrams `NAME 0`, `NAME 1`, ... to each address, for ever.
//! `burst NAME COUNT MILLISECONDS TO...` does so COUNT times.
//! `both NAME MILLISECONDS TO NEW` does so to TO over one socket and to NEW from a new port each time, for ever; after the
//! number comes the source that the server saw in what it has answered since, or `-`.
//! `hold NAME MILLISECONDS TO` sends such lines over one TCP connection and ends when it breaks or is silent for five minutes.
//! `serve AT` answers every datagram with its source.
//! `pause` does nothing for ever.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// How long a connection may be silent: after some losses TCP waits for long until it tries again.
const SILENCE: Duration = Duration::from_secs(300);
/// Flows of one datagram that may still be answered.
const WAITING: usize = 16;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["blast", count, port, to @ ..] => {
            to.iter().try_for_each(|to| blast(count.parse()?, port.parse()?, to.parse()?))
        }
        ["ask", port, to] => ask(port.parse()?, to.parse()?),
        ["send", name, pause, to @ ..] => send(name, (u64::MAX, pause.parse()?), to),
        ["burst", name, count, pause, to @ ..] => send(name, (count.parse()?, pause.parse()?), to),
        ["both", name, pause, to, new] => {
            both(name, Duration::from_millis(pause.parse()?), [to.parse()?, new.parse()?])
        }
        ["hold", name, pause, to] => hold(name, Duration::from_millis(pause.parse()?), to.parse()?),
        ["serve", at] => serve(at.parse()?),
        ["pause"] => loop {
            std::thread::park();
        },
        _ => bail!(
            "blast COUNT PORT TO... | ask PORT TO | send NAME MILLISECONDS TO... | burst NAME COUNT MILLISECONDS TO... | \
             both NAME MILLISECONDS TO NEW | hold NAME MILLISECONDS TO | serve AT | pause"
        ),
    }
}

fn open(port: u16, to: SocketAddr) -> Result<UdpSocket> {
    let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
    let socket = UdpSocket::bind((any, port)).context("cannot bind")?;
    socket.connect(to).context("cannot connect")?;
    Ok(socket)
}

fn blast(count: u32, port: u16, to: SocketAddr) -> Result<()> {
    let socket = open(port, to)?;
    for _ in 0..count {
        // An error that an earlier packet caused is no reason to stop.
        let _ = socket.send(b"?");
    }
    Ok(())
}

fn ask(port: u16, to: SocketAddr) -> Result<()> {
    let socket = open(port, to)?;
    socket.set_read_timeout(Some(Duration::from_secs(3))).context("cannot set a time limit")?;
    socket.send(b"?").context("cannot send")?;
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).context("no answer")?;
    std::io::stdout().write_all(&buffer[..length]).context("cannot print")
}

fn send(name: &str, (count, pause): (u64, u64), to: &[&str]) -> Result<()> {
    let sockets = to.iter().map(|to| open(0, to.parse()?)).collect::<Result<Vec<_>>>()?;
    for number in 0..count {
        for socket in &sockets {
            // What is refused is missing at the far end.
            let _ = socket.send(format!("{name} {number}").as_bytes());
        }
        std::thread::sleep(Duration::from_millis(pause));
    }
    Ok(())
}

fn both(name: &str, pause: Duration, [to, new]: [SocketAddr; 2]) -> Result<()> {
    let running = open(0, to)?;
    let mut waiting = VecDeque::new();
    for number in 0_u64.. {
        let _ = running.send(format!("{name} {number} {}", answer(std::iter::once(&running))).as_bytes());
        let text = format!("{name} {number} {}", answer(waiting.iter()));
        let socket = open(0, new)?;
        let _ = socket.send(text.as_bytes());
        waiting.push_back(socket);
        if waiting.len() > WAITING {
            waiting.pop_front();
        }
        std::thread::sleep(pause);
    }
    Ok(())
}

/// What the server has said at last to one of these sockets, if anything, as one word: the source it saw.
fn answer<'a>(sockets: impl Iterator<Item = &'a UdpSocket>) -> String {
    let mut buffer = [0; 256];
    let mut said = None;
    for socket in sockets {
        let _ = socket.set_nonblocking(true);
        while let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            said = text.split_whitespace().nth(1).map(str::to_owned).or(said);
        }
    }
    said.unwrap_or_else(|| "-".to_owned())
}

fn hold(name: &str, pause: Duration, to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(to).context("cannot connect")?;
    stream.set_nodelay(true).context("cannot send at once")?;
    stream.set_read_timeout(Some(SILENCE)).context("cannot set a time limit")?;
    for number in 0_u64.. {
        stream.write_all(format!("{name} {number}\n").as_bytes()).context("cannot send")?;
        let length = stream.read(&mut [0; 256]).context("no answer")?;
        ensure!(length > 0, "the other side has closed the connection");
        std::thread::sleep(pause);
    }
    Ok(())
}

fn serve(at: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(at).context("cannot bind")?;
    loop {
        let (_, from) = socket.recv_from(&mut [0; 64]).context("cannot receive")?;
        socket.send_to(format!("pod {from}").as_bytes(), from).context("cannot answer")?;
    }
}
