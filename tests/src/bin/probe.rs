//! A pod's process: sends at once after it started.
//!
//! `blast COUNT PORT TO...` sends COUNT datagrams from PORT to each address as fast as it can.
//! `ask PORT TO` sends one datagram and prints the answer.
//! `wait` waits for the end of standard input.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["blast", count, port, to @ ..] => {
            to.iter().try_for_each(|to| blast(count.parse()?, port.parse()?, to.parse()?))
        }
        ["ask", port, to] => ask(port.parse()?, to.parse()?),
        ["wait"] => std::io::stdin().read_to_end(&mut Vec::new()).context("cannot wait").map(drop),
        _ => bail!("blast COUNT PORT TO... | ask PORT TO | wait"),
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
